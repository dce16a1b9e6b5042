"""A sweep from its first trial to its exit code: Hydra starts the trials, we follow them and say how they ended."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from phi_runner.config import endings, hydra, jobs, launchers
from phi_runner.config.flags import CommandLine
from phi_runner.config.jobs import Jobs, Runner
from phi_runner.config.notices import Notice, Notices
from phi_runner.config.sweeping import Sweeping
from phi_runner.config.trial import ENDED_WELL, State
from phi_runner.errors import StoreProblem

_LOOK_S = 0.5


def run(line: CommandLine, *, sweeping: Sweeping, folder: Path, runner: Callable[[], Runner]) -> int:
    """Let Hydra start the trials and return the exit code: 0 where all that was asked for is done."""
    beside = launchers.beside(sweeping.launcher)
    notices = _begin(folder)
    task = Jobs(runner=runner, notices=notices, swept=sweeping.keys, quiet=beside, cores=sweeping.cores)
    more = [f"hydra.sweep.dir={hydra.quoted(str(folder))}", "hydra.output_subdir=null"]
    more += [f"hydra.sweeper.max_batch_size={sweeping.batch}"] if sweeping.batch else []
    words = [*CommandLine(flags=line.flags, overrides=sweeping.told(line)).arguments(), *more]
    try:
        broken = _started(words, task, notices=notices, sweeping=sweeping, folder=folder)
        found = notices.read()
        well = _ended(found, sweeping=sweeping, broken=broken)
        asked = list(dict.fromkeys(notice.trial for notice in found if notice.trial))
        return 0 if runner().sweep_table(folder, asked=asked) and well else 1
    finally:
        notices.end()


def _begin(folder: Path) -> Notices:
    try:
        return Notices.begin(folder)
    except OSError as err:
        raise StoreProblem(f"{folder} cannot be made ({os.strerror(err.errno or 0)}): type outputs=FOLDER") from err


def _started(words: Sequence[str], task: Jobs, *, notices: Notices, sweeping: Sweeping, folder: Path) -> str:
    """Run all trials; return what a launcher's own library says where it gave up."""
    begun = time.time()
    launchers.quieten(sweeping.launcher)
    try:
        with endings.raising(), endings.without_hydras_line(), endings.stoppable(), _followed(notices, task=task):
            hydra.start(words, task.run)
    except KeyboardInterrupt:
        notices.stop()
        launchers.end(notices.read(), sweep=folder, since=begun)
        raise
    except Exception as err:
        if type(err).__module__.partition(".")[0] not in launchers.LIBRARIES:
            raise
        return endings.failure(err)
    return ""


def _ended(found: Sequence[Notice], *, sweeping: Sweeping, broken: str) -> bool:
    """Say which trials have not come to an end, and return whether all of them ended well."""
    lost = [notice for notice in found if notice.state in {State.running, State.waiting, State.interrupted}]
    for notice in lost:
        endings.say(f"{notice}: its process has ended without a word")
    if broken:
        endings.say(f"hydra/launcher={sweeping.launcher} gave up: {broken}")
    missing = sweeping.count - len(found) if sweeping.count is not None else 0
    if lost or broken or missing > 0:
        begun = f", {missing} of {sweeping.count} trials have not begun" if missing > 0 else ""
        endings.say(f"the sweep is not complete{begun}: type the same command to continue")
        return False
    return all(notice.state in ENDED_WELL for notice in found)


@contextmanager
def _followed(notices: Notices, *, task: Jobs) -> Iterator[None]:
    """Speak for trials that run in other processes, a line when one begins and a line when it ends."""
    if not task.quiet:
        yield
        return
    over = Event()
    speaker = Thread(target=_speak, args=(notices, over), name="trials", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def _speak(notices: Notices, over: Event) -> None:
    said: dict[int, State] = {}
    since: dict[int, float] = {}
    while True:
        last = over.wait(_LOOK_S)
        for notice in notices.read():
            if said.get(notice.number) is not notice.state:
                said[notice.number] = notice.state
                begun = since.setdefault(notice.number, time.monotonic())
                _line(notice, seconds=time.monotonic() - begun)
        if last:
            return


def _line(notice: Notice, *, seconds: float) -> None:
    match notice.state:
        case State.running:
            endings.say(f"{notice}: started on {notice.host}", failed=False)
        case State.done | State.pruned:
            told = f", {notice.told}" if notice.told else ""
            endings.say(f"{notice}: {notice.state} in {seconds:.0f} s{told}", failed=False)
        case _:
            jobs.say(notice)
