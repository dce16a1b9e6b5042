"""Traffic is divided as exactly as whole requests allow, whatever the shares."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from phi_runner.serve.gateway.spread import Spread


@given(st.dictionaries(st.sampled_from(["blue", "green", "red"]), st.integers(1, 100), min_size=1))
def test_a_full_turn_gives_everybody_exactly_its_share(weights: dict[str, int]) -> None:
    spread, turn = Spread(), sum(weights.values())
    assert Counter(spread.pick(weights) for _ in range(turn)) == weights


def test_a_small_share_comes_evenly() -> None:
    spread = Spread()
    picked = [spread.pick({"blue": 90, "green": 10}) for _ in range(40)]
    places = [place for place, name in enumerate(picked) if name == "green"]
    assert [later - earlier for earlier, later in pairwise(places)] == [10, 10, 10]


def test_who_comes_back_does_not_catch_up_on_what_it_missed() -> None:
    spread = Spread()
    for _ in range(100):
        spread.pick({"blue": 50})
    assert Counter(spread.pick({"blue": 50, "green": 50}) for _ in range(10)) == {"blue": 5, "green": 5}
