"""What clients notice of a change of the model: `python -m benchmarks.rollout [--quick] [--json FILE]`.

An endpoint under constant load gets a second and a third version of its model, then one that does not pass the quality
gate, then one whose process is killed after its first answer, and at last goes back to the second. The exit code
is 1 when a request failed.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving import model, ours
from benchmarks.serving.constant import Answered, Load
from benchmarks.serving.phases import Phase, figures, show
from benchmarks.serving.servers import CannotServe
from benchmarks.table import objects
from phi_runner import processes
from phi_runner.deploy import local
from phi_runner.deploy.local import Wanted
from phi_runner.errors import DeployFailed
from phi_runner.serve.gateway import steering

_CALM_S = 3.0
"""Load alone, between two changes."""
_HELD_OUT = 4
_HELD_OUT_TOKENS = 16
_LOOK_EVERY_S = 0.02
_LAST = "small/4"
"""What nobody is to keep."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="steps of half a second instead of the defaults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "phi_runner_bench")
    return parser.parse_args()


class Changes:
    """The endpoint, its load, and what is done to it."""

    def __init__(self, options: argparse.Namespace, *, outputs: Path) -> None:
        made = options.venvs / "made"
        self._outputs = outputs
        self._pace = {"step_s": 0.5, "bake_s": 1.0} if options.quick else {}
        self._models = [model.folder_of(made, seed=seed) for seed in range(4)]
        self._prompts = model.prompts(56, model=self._models[0])
        self._clients = options.clients
        self._load: Load | None = None
        self.phases: list[Phase] = []

    def run(self) -> None:
        """Deploy the first version, put it under load, make every change."""
        with ours.deployed(self._wish(0)) as up:
            load = Load(url=up.url, key=up.key, prompts=self._prompts, clients=self._clients)
            self._load = load
            with load:
                self._all()
                time.sleep(_CALM_S)
            for phase, following in zip(self.phases, [*self.phases[1:], None], strict=True):
                phase.answered = load.between(phase.begun, following.begun if following else float("inf"))

    def _all(self) -> None:
        self._phase("load alone", lambda _phase: None)
        self._phase("first swap", lambda _phase: self._deploy(self._wish(1)))
        self._phase("second swap", lambda _phase: self._deploy(self._wish(2)))
        self._phase("green fails the quality gate", self._broken)
        self._phase("green killed after its first answer", self._killed)
        self._phase("deploy.rollback=true", self._back)

    def _wish(self, number: int, **more: object) -> Wanted:
        label = f"small/{number + 1}"
        return ours.wanted(self._models[number], self._outputs, label=label, **self._pace, **more)  # type: ignore[arg-type]

    def _phase(self, name: str, act: Callable[[Phase], None]) -> None:
        print(f"{name} ...", flush=True)
        phase = Phase(name=name, begun=time.monotonic())
        self.phases.append(phase)
        act(phase)
        phase.ended = time.monotonic()
        print(f"    {phase.ended - phase.begun:.1f} s {phase.said}", flush=True)
        time.sleep(_CALM_S)

    def _deploy(self, wish: Wanted) -> None:
        local.deploy(wish, events=ours.silent())

    def _fails(self, wish: Wanted, phase: Phase, *, because: str) -> None:
        """Deploy what is to be refused; raises CannotServe when it is not, or for another reason."""
        try:
            self._deploy(wish)
        except DeployFailed as err:
            phase.said = str(err)
        if because not in phase.said:
            raise CannotServe(f"{phase.name}: {phase.said or 'it was deployed'}")

    def _broken(self, phase: Phase) -> None:
        """Deploy a version whose evaluation says that it answers otherwise than it does."""
        answers = self._outputs / "answers.jsonl"
        rows = [
            {"messages": [{"role": "user", "content": text}], "after": "other", "max_new_tokens": _HELD_OUT_TOKENS}
            for text in self._prompts[:_HELD_OUT]
        ]
        answers.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self._fails(self._wish(3, answers=answers), phase, because="held-out")

    def _killed(self, phase: Phase) -> None:
        """Deploy a version and kill its process as soon as a client has got an answer of it."""
        watcher = threading.Thread(target=self._kill_when_it_has_answered, args=(phase,), daemon=True)
        watcher.start()
        self._fails(self._wish(3), phase, because="died")
        watcher.join(timeout=10)

    def _kill_when_it_has_answered(self, phase: Phase) -> None:
        before = self._traffic()
        folder = Path(self._running().folder)
        while _LAST not in {one.version for one in self._answered()}:
            time.sleep(_LOOK_EVERY_S)
        [new] = set(self._traffic()) - set(before)
        report = steering.read_report(folder)
        there = report.of(new) if report else None
        if there is None:
            return
        os.kill(there.pid, signal.SIGKILL)
        killed = time.monotonic()
        while self._traffic() != before:
            time.sleep(_LOOK_EVERY_S)
        phase.back_s = time.monotonic() - killed

    def _back(self, phase: Phase) -> None:
        """Bring back the version before."""
        before = self._traffic()
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_LOOK_EVERY_S):
                traffic = self._traffic()
                if phase.back_s is None and traffic != before and 100 in traffic.values():
                    phase.back_s = time.monotonic() - phase.begun

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self._deploy(self._wish(2, rollback=True))
        finally:
            done.set()
            watcher.join()

    def _answered(self) -> list[Answered]:
        return list(self._load.answered) if self._load else []

    def _running(self) -> processes.Running:
        found = processes.find(local.KIND, ours.NAME, outputs=self._outputs)
        assert found is not None
        return found

    def _traffic(self) -> dict[str, int]:
        """Return who has traffic by the plan, in percent."""
        plan = steering.read_plan(Path(self._running().folder))
        return {name: percent for name, percent in plan.traffic.items() if percent}


def main() -> int:
    """Run, print, and return the exit code."""
    options = _options()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    outputs = options.venvs / "made" / "rollout"
    shutil.rmtree(outputs, ignore_errors=True)
    changes = Changes(options, outputs=outputs)
    try:
        changes.run()
    except (CannotServe, DeployFailed) as err:
        print(f"does not run: {err}")
        return 1
    show(changes.phases, title=f"{options.clients} clients")
    if options.json:
        rows = objects(figures(changes.phases))
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    failed = [one for phase in changes.phases for one in phase.failed]
    for problem, count in Counter(one.problem for one in failed).most_common(10):
        print(f"FAILED {count} times: {problem}")
    print(f"{sum(len(phase.answered) for phase in changes.phases)} requests, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
