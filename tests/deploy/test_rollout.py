"""The roll-out: every way it ends, and a run killed between any two calls is continued without a gap."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_runner.deploy.rollout import Condition, Deployment, Pace, Served, roll_out
from phi_runner.errors import DeployFailed, RemoteFailed
from tests.deploy.rig import Heard

PACE = Pace(steps=[10, 50, 100], step_s=1.0, bake_s=7.0)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class World:
    """An endpoint that outlives the runs; it refuses what Azure refuses and checks that it is never left without."""

    there: dict[str, Deployment] = field(default_factory=dict)
    proved: set[str] = field(default_factory=set)
    good: frozenset[str] = frozenset({"v1", "v2", "v3"})
    """Fingerprints that work."""
    poor: frozenset[str] = frozenset()
    """Those that answer worse than they did."""
    examined: set[str] = field(default_factory=set)
    served: bool = False
    made: int = 0

    def put(self, name: str, fingerprint: str, percent: int = 0, condition: Condition = Condition.ready) -> None:
        self.there[name] = Deployment(name=name, percent=percent, fingerprint=fingerprint, condition=condition)
        if percent:
            self.examined.add(name)
            self.proved.add(name)
            self.served = True

    @property
    def traffic(self) -> dict[str, int]:
        return {name: item.percent for name, item in self.there.items() if item.percent}

    def check(self) -> None:
        assert len(self.there) <= 2
        assert set(self.traffic) <= self.proved, "traffic without a proof"
        assert set(self.traffic) <= self.examined, "traffic without the quality gate"
        if self.served:
            assert sum(self.traffic.values()) == 100, "nobody serves"


class Fake:
    """The backend of one run; it dies before its `dies`-th effect, counting from 1."""

    def __init__(self, world: World, *, wanted: str, dies: int = 0) -> None:
        self.world, self.wanted, self.dies = world, wanted, dies
        self.calls: list[str] = []
        self.broken_after = 0
        """The answers are wrong from this proof on."""
        self.proofs = 0

    def _moment(self, call: str) -> None:
        self.world.check()
        self.calls.append(call)
        if len(self.calls) == self.dies:
            raise Killed

    def deployments(self) -> Sequence[Deployment]:
        self._moment("look")
        return list(self.world.there.values())

    def make(self, name: str) -> None:
        self._moment(f"make {name}")
        if name not in self.world.there:
            self.world.made += 1
            self.world.put(name, self.wanted, condition=Condition.making)
        self._moment(f"wait {name}")
        self.world.proved.discard(name)
        self.world.examined.discard(name)
        self.world.put(name, self.wanted)

    def prove(self, name: str) -> str:
        self._moment(f"prove {name}")
        self.proofs += 1
        asked = [name] if name else list(self.world.traffic)
        for item in asked:
            wrong = self.broken_after and self.proofs >= self.broken_after
            if self.world.there[item].fingerprint not in self.world.good or wrong:
                raise DeployFailed(f"{item} answered 500")
            self.world.proved.add(item)
        return "Paris."

    def examine(self, name: str) -> None:
        self._moment(f"examine {name}")
        if self.world.there[name].fingerprint in self.world.poor:
            raise DeployFailed(f"{name} answers only 1 of 4 held-out prompts as the evaluated model did")
        self.world.examined.add(name)

    def shift(self, traffic: Mapping[str, int]) -> None:
        self._moment(f"shift {dict(traffic)}")
        assert sum(traffic.values()) in {0, 100}
        for name, item in self.world.there.items():
            self.world.there[name] = replace(item, percent=traffic.get(name, 0))
        self.world.served = bool(traffic)
        self._moment("shifted")

    def remove(self, name: str) -> None:
        self._moment(f"remove {name}")
        assert name not in self.world.traffic
        self.world.there.pop(name, None)
        self.world.proved.discard(name)

    def log_tail(self, name: str) -> Sequence[str]:
        return ["", f"{name}: MemoryError"]


def run(fake: Fake, paused: list[float] | None = None) -> Served:
    pauses = paused if paused is not None else []
    return roll_out(fake, wanted=fake.wanted, pace=PACE, events=Heard().events, pause=pauses.append)


def test_the_first_deployment_ever_gets_everything_right_after_its_proof() -> None:
    world, paused = World(), []
    fake = Fake(world, wanted="v1")
    assert run(fake, paused) == Served(name="blue", answer="Paris.", new=True)
    assert (world.traffic, paused) == ({"blue": 100}, [])
    assert fake.calls == [
        "look",
        "make blue",
        "wait blue",
        "prove blue",
        "examine blue",
        "shift {'blue': 100}",
        "shifted",
        "prove ",
    ]


def test_a_new_one_takes_over_in_steps_and_the_names_alternate() -> None:
    world, paused = World(), []
    world.put("blue", "v1", 100)
    fake = Fake(world, wanted="v2")
    assert run(fake, paused).name == "green"
    shifts = [call for call in fake.calls if call.startswith(("shift ", "remove"))]
    assert shifts == [
        "shift {'blue': 90, 'green': 10}", "shift {'blue': 50, 'green': 50}", "shift {'green': 100}", "remove blue"
    ]  # fmt: skip
    assert paused == [1.0, 1.0, 7.0]
    assert fake.calls.count("prove green") == 4
    run(Fake(world, wanted="v3"))
    assert world.traffic == {"blue": 100}


def test_the_wanted_one_is_kept() -> None:
    world, paused = World(), []
    world.put("green", "v1", 100)
    assert run(Fake(world, wanted="v1"), paused) == Served(name="green", answer="Paris.", new=False)
    assert (paused, world.made) == ([], 0)


@pytest.mark.parametrize("broken_after", [1, 2, 3, 4, 5])
def test_a_failure_at_any_proof_brings_the_traffic_back(broken_after: int) -> None:
    world = World()
    world.put("blue", "v1", 100)
    fake = Fake(world, wanted="v2")
    fake.broken_after = broken_after
    if broken_after >= 4:  # at 100 % the old one is proved before it gets the traffic back
        fake.world.good = frozenset({"v1", "v2"})
    with pytest.raises(DeployFailed) as caught:
        run(fake)
    if broken_after < 4:
        assert str(caught.value) == "green answered 500; blue has the traffic; its log ends with: green: MemoryError"
        assert world.traffic == {"blue": 100}
        assert list(world.there) == ["blue"]
    else:  # nothing answers any more: nothing is moved or removed
        assert "going back failed as well (blue answered 500)" in str(caught.value)
        assert world.traffic == {"green": 100}
        assert run(Fake(world, wanted="v2")).name == "green"


def test_one_that_answers_worse_than_it_did_never_gets_traffic() -> None:
    world = World(poor=frozenset({"v2"}))
    world.put("blue", "v1", 100)
    fake = Fake(world, wanted="v2")
    with pytest.raises(DeployFailed, match=r"^green answers only 1 of 4 .*; blue has the traffic"):
        run(fake)
    assert (list(world.there), "shift" in " ".join(fake.calls)) == (["blue"], False)


def test_a_broken_first_one_is_removed() -> None:
    world = World(good=frozenset())
    with pytest.raises(DeployFailed, match=r"blue answered 500; nothing served before.*MemoryError"):
        run(Fake(world, wanted="v1"))
    assert world.there == {}


def test_one_that_breaks_while_it_bakes_gives_the_traffic_back() -> None:
    world = World()
    world.put("blue", "v1", 100)

    class Breaking(Fake):
        """Breaks at 100 %."""

        def shift(self, traffic: Mapping[str, int]) -> None:
            super().shift(traffic)
            if traffic == {"green": 100}:
                world.good = frozenset({"v1"})

    with pytest.raises(DeployFailed, match="blue has the traffic"):
        run(Breaking(world, wanted="v2"))
    assert world.traffic == {"blue": 100}
    assert list(world.there) == ["blue"]


def test_a_serving_one_that_fails_is_replaced_by_its_like() -> None:
    world = World()
    world.put("blue", "v1", 100)

    class Ill(Fake):
        """Blue is ill, whatever it serves."""

        def prove(self, name: str) -> str:
            if name == "blue":
                raise DeployFailed("blue answered 502")
            return super().prove(name)

    assert run(Ill(world, wanted="v1")).name == "green"
    assert list(world.there) == ["green"]


def test_what_cannot_be_reached_while_going_back_is_told_with_the_first_failure() -> None:
    world = World()

    class Deaf(Fake):
        """Makes nothing, and then the network is gone."""

        def make(self, name: str) -> None:
            raise RemoteFailed("not enough cores")

        def deployments(self) -> Sequence[Deployment]:
            if self.calls:
                raise RemoteFailed("Azure cannot be reached")
            return super().deployments()

    with pytest.raises(DeployFailed, match=r"^not enough cores; going back failed as well \(Azure cannot be reached\)"):
        run(Deaf(world, wanted="v1"))


def _go_on(world: World, *, wanted: str) -> None:
    """Run again as a user does, twice when the first ends with a failure that is told."""
    try:
        run(Fake(world, wanted=wanted))
    except DeployFailed:
        run(Fake(world, wanted=wanted))
    world.check()


@settings(deadline=None, max_examples=300)
@given(
    kills=st.lists(st.tuples(st.sampled_from(["v1", "v2", "v3"]), st.integers(1, 40)), max_size=5),
    last=st.sampled_from(["v1", "v2", "v3"]),
    bad=st.sets(st.sampled_from(["v1", "v2"])),
)
def test_runs_killed_anywhere_converge_and_always_serve(kills: list[tuple[str, int]], last: str, bad: set[str]) -> None:
    world = World(good=frozenset({"v1", "v2", "v3"} - bad))
    for wanted, dies in kills:
        with contextlib.suppress(Killed, DeployFailed):
            run(Fake(world, wanted=wanted, dies=dies))
        world.check()
    if last in world.good:
        _go_on(world, wanted=last)
        assert [(item.fingerprint, item.percent) for item in world.there.values()] == [(last, 100)]
    else:
        before = dict(world.traffic)
        with pytest.raises(DeployFailed):
            run(Fake(world, wanted=last))
        assert bool(world.traffic) == bool(before)


@pytest.mark.parametrize("first", ["", "v1"])
def test_killed_at_every_single_boundary_the_next_run_ends_well(first: str) -> None:
    boundary = 0
    while True:
        boundary += 1
        world = World()
        if first:
            world.put("blue", first, 100)
        fake = Fake(world, wanted="v2", dies=boundary)
        try:
            run(fake)
        except Killed:
            run(Fake(world, wanted="v2"))
        assert [(item.fingerprint, item.percent) for item in world.there.values()] == [("v2", 100)]
        assert world.made == 1, "a deployment was made twice"
        if len(fake.calls) < boundary:
            break
    assert boundary > 7
