"""kill -9 of the run at every boundary between two cloud calls: the same run again ends well, nothing is made twice.

Each call is a boundary: before it reaches the cloud. One that changes something is another: when the cloud has done it
but nobody hears the answer. `-m slow -s` prints what was counted; a sample is among the tests of the faults.
"""

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import standin
from tests.e2e.siege import Siege, Watch, besieged

pytest.importorskip("azure.ai.ml")
_CHANGES = "^(PUT|POST|PATCH|DELETE) "
_MODES = (("kill", ""), ("kill_after", _CHANGES))
_UPLOADS = range(5, 175, 20)
"""Of the calls of a first training, most of which upload one of its code's files each."""
_SERVED = "served"
_numbers = itertools.count(1)


class Tally(Counter[str]):
    """Kills and repeats by stage, and what did not end well."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.begun = time.monotonic()

    def at_each(
        self, siege: Siege, what: str, *, fresh: Callable[[int], tuple[str, ...]], check: Callable[[str], object]
    ) -> None:
        """Kill a fresh run at each of its calls, then let the same one end and check what it left."""
        for mode, match in _MODES:
            for number in itertools.count():
                arguments = fresh(next(_numbers))
                struck = siege.killed(*arguments, number=number, mode=mode, match=match)
                self[f"{what}: kills"] += struck
                with self.kept(f"{what} killed at call {number} ({mode})") as told:
                    siege.run(*arguments)
                    check(told)
                    self[f"{what}: survived"] += struck
                if not struck:
                    break
        self.show()

    def show(self) -> None:
        """Print the counts so far."""
        print(f"{time.monotonic() - self.begun:.0f} s: {dict(self)}", flush=True)

    @contextmanager
    def kept(self, told: str) -> Iterator[str]:
        """Keep what fails for the end: the other boundaries are to be seen too."""
        print(told, flush=True)
        try:
            yield told
        except AssertionError as err:
            self.failures.append(f"{told}: {err}")
            print(self.failures[-1], flush=True)


def _train(siege: Siege, tally: Tally) -> None:
    def once(told: str) -> None:
        assert max(siege.executed().values()) == 1, told
        assert max(siege.submitted().values()) == 1, told

    tally.at_each(
        siege, "train", fresh=lambda number: ("stages=[train]", f"train.weight_decay={number / 10000}"), check=once
    )


def _register(siege: Siege, tally: Tally) -> None:
    names: list[str] = []

    def fresh(number: int) -> tuple[str, ...]:
        names.append(f"model-{number}")
        return "stages=[register]", f"register.name={names[-1]}"

    def once(told: str) -> None:
        versions = [path for path in siege.rig.admin("/state")["resources"] if f"/models/{names[-1]}/versions/" in path]
        assert len(versions) == 1, told

    tally.at_each(siege, "register", fresh=fresh, check=once)


def _deploy(siege: Siege, tally: Tally) -> None:
    names: list[str] = []

    def fresh(number: int) -> tuple[str, ...]:
        names.append(f"first-{number}")
        return "stages=[deploy]", f"deploy.name={names[-1]}"

    tally.at_each(siege, "deploy", fresh=fresh, check=lambda _told: siege.serving(names[-1]))


def _replace(siege: Siege, tally: Tally) -> Watch:
    """Replace a deployment again and again while somebody asks it all the time."""
    siege.run("stages=[deploy]", f"deploy.name={_SERVED}")
    since = len(siege.rig.wire())
    with siege.watched(_SERVED) as watch:
        tally.at_each(
            siege, "replacement", check=lambda _told: siege.serving(_SERVED),
            fresh=lambda number: ("stages=[deploy]", f"deploy.name={_SERVED}", f"deploy.max_new_tokens={number + 10}"),
        )  # fmt: skip
    puts = [call for call in siege.rig.wire()[since:] if call["method"] == "PUT"]
    divided = [call["request"]["properties"] for call in puts if call["path"].endswith(f"/onlineEndpoints/{_SERVED}")]
    assert divided
    assert {sum(properties["traffic"].values()) for properties in divided} == {100}
    return watch


def _first_upload(siege: Siege, tally: Tally) -> None:
    """Upload code for the first time, killed again and again."""
    siege.run("stages=[infra,data]")
    for number in _UPLOADS:
        tally["first upload: kills"] += siege.killed("stages=[train]", number=number, mode="kill")
    siege.run("stages=[train,evaluate]")
    assert max(siege.executed().values()) == 1
    tally.show()


def _nothing_left(siege: Siege, told: str) -> None:
    assert siege.left() == [], told
    assert siege.open_entries() == [], told


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_killed_at_every_boundary_the_same_run_ends_well(tmp_path: Path) -> None:
    tally = Tally()
    with besieged(tmp_path) as siege:
        _first_upload(siege, tally)
        _register(siege, tally)
        _deploy(siege, tally)
        watch = _replace(siege, tally)
        _train(siege, tally)
        jobs = siege.executed().values(), siege.submitted().values()
        doubled = sum(times > 1 for counted in jobs for times in counted)
        siege.run("stages=[teardown]")
        left = [*siege.left(), *siege.open_entries()]
    tally.show()
    print(
        f"faults injected: {siege.injected}, runs: {siege.commands}, double-submitted jobs: {doubled}, questions while "
        f"replaced: {watch.asked}, seconds without an answer: {watch.silent_s}, left after teardown: {len(left)}"
    )
    assert (tally.failures, doubled, watch.wrong, left) == ([], 0, [], [])
    assert watch.asked > 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_teardown_killed_at_every_boundary_leaves_nothing(tmp_path: Path) -> None:
    with besieged(tmp_path / "first") as siege:
        standin.invent(siege.kept)
        siege.run("stages=[infra,data,train,evaluate,register,deploy]")
        shutil.copytree(tmp_path / "first", tmp_path / "like", symlinks=True)
        tally = _torn_down(tmp_path, siege)
    assert tally.failures == []
    assert tally["teardown: kills"] > 40


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_runs_is_ended_by_a_teardown_that_is_killed(tmp_path: Path) -> None:
    with besieged(tmp_path / "first") as siege:
        standin.invent(siege.kept)
        siege.run("stages=[infra,data]")
        (siege.kept / standin.SLOW).touch()
        shutil.copytree(tmp_path / "first", tmp_path / "like", symlinks=True)
        tally = _torn_down(tmp_path, siege, only=".*/jobs/", job=True)
    assert tally.failures == []
    assert tally["teardown: kills"] >= 4  # look, cancel, its answer, look again


def _torn_down(folder: Path, siege: Siege, *, only: str = "", job: bool = False) -> Tally:
    """Tear a copy of a cloud down for each call, with a job that runs if wanted."""
    tally = Tally()
    for mode, match in _MODES:
        for number in itertools.count():
            place = folder / f"{mode}{number}"
            with besieged(place, like=folder / "like", forker=siege.forker) as again:
                if job:
                    assert again.killed("stages=[train]", number=3, mode="kill", match="/details$")
                struck = again.killed("stages=[teardown]", number=number, mode=mode, match=f"{match}{only}")
                with tally.kept(f"teardown killed at call {number} ({mode})") as told:
                    again.run("stages=[teardown]")
                    _nothing_left(again, told)
                    tally["teardown: survived"] += struck
            shutil.rmtree(place)
            tally["teardown: kills"] += struck
            if not struck:
                break
        tally.show()
    return tally
