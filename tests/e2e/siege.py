"""A cloud under siege: commands against an emulator that outlives them, with faults and kills at chosen calls."""

import contextlib
import json
import re
import shlex
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import runs
from tests.azureml.rig import Rig, running
from tests.e2e import cli, standin

_ACCOUNT = (
    "azure.subscription=00000000-0000-0000-0000-00000000feed", "azure.tenant=11111111-1111-1111-1111-111111111111",
    "azure.credential=default", "azure.wait_s=60",
)  # fmt: skip
_WORK = (
    "compute=azure_cpu", "deploy=azure", "deploy.step_s=0", "deploy.bake_s=0", "data=jsonl",
    "data.train_file=facts.jsonl", *(item for item in cli.SMALL if not item.startswith("compute.")),
)  # fmt: skip
_WATCHER = "watcher"
RUNNER = f"(?!emulator|{_WATCHER})"
"""User-Agent of the runner's own calls."""
_KEPT = ("/datastores/", "/microsoft.resources/deployments/")


class Forker:
    """A process that has the slow imports done and forks a child for each command."""

    def __init__(self, folder: Path) -> None:
        self._errors = (folder / "forker.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forked"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True,
        )  # fmt: skip
        self._hear("ready")

    def begin(self, **asked: Any) -> int:
        """Start a command that waits; return its pid."""
        self._say(json.dumps(asked))
        return self._hear("pid")

    def go(self) -> int:
        """Let it go and return its exit code at its end."""
        self._say("go")
        return self._hear("code")

    def end(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self, name: str) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, Path(self._errors.name).read_text(encoding="utf-8")
        return int(json.loads(line)[name])


@dataclass(kw_only=True)
class Siege:
    """An emulator, a folder with outputs, and the commands that run there."""

    rig: Rig
    folder: Path
    kept: Path
    """What the stand-in for the nodes' interpreter keeps."""
    forker: Forker
    injected: int = 0
    commands: int = 0

    def run(self, *arguments: str, expect: int | None = 0) -> str:
        """Run the command to its end and return what it said; fails when the exit code is not the expected one."""
        self._begin(arguments)
        return self._end(expect)

    def run_with(self, faults: list[dict[str, Any]], *arguments: str, expect: int | None = 0) -> str:
        """Run the command under faults, which are gone afterwards; every one of them must have struck."""
        for fault in faults:
            self.rig.admin("/faults", {"agent": RUNNER} | fault)
        try:
            said = self.run(*arguments, expect=expect)
            met = self.rig.admin("/faults")["value"]
        finally:
            self.rig.admin("/clear", {})
        assert [fault["match"] for fault in met if not fault["injected"]] == []
        self.injected += sum(fault["injected"] for fault in met)
        return said

    def killed(self, *arguments: str, number: int, mode: str, match: str = "") -> bool:
        """Run the command and kill it at its call of that number; say whether it came so far."""
        pid = self._begin(arguments)
        fault = {"agent": RUNNER, "match": match, "after": number, "mode": mode, "pid": pid}
        self.rig.admin("/faults", fault)
        said = self._end(None)
        struck = bool(self.rig.admin("/faults")["value"][0]["injected"])
        self.rig.admin("/clear", {})
        assert struck or self.code == 0, said
        assert not struck or self.code == -9, f"{self.code}: {said}"
        self.injected += struck
        return struck

    def _begin(self, arguments: tuple[str, ...]) -> int:
        self.commands += 1
        return self.forker.begin(
            arguments=[*_ACCOUNT, *_WORK, *arguments], folder=str(self.folder), log=str(self.folder / "said.txt"),
            environment=self.rig.environment | {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"},
        )  # fmt: skip

    def _end(self, expect: int | None) -> str:
        self.code = self.forker.go()
        said = (self.folder / "said.txt").read_text(encoding="utf-8")
        assert expect is None or self.code == expect, f"exit {self.code}: {said}"
        return said

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def executed(self) -> Counter[str]:
        """Return how often the nodes have run each job."""
        file = self.kept / standin.EXECUTIONS
        return Counter(file.read_text(encoding="utf-8").split()) if file.exists() else Counter()

    def submitted(self) -> Counter[str]:
        """Return how many jobs were made for each key: under its name, and under those of further attempts."""
        asked = {call["path"] for call in self.rig.wire() if call["method"] == "PUT"}
        found = [re.search(r"/jobs/(phi-\w+-\w+)(-r\d+)?$", path) for path in asked]
        return Counter(match[1] for match in found if match)

    def left(self) -> list[str]:
        """Return what the cloud still holds of what can be removed."""
        paths: list[str] = self.rig.admin("/state")["resources"]
        return [path for path in paths if not any(kept in path for kept in _KEPT)]

    def open_entries(self) -> list[str]:
        """Return what the ledger still holds."""
        lines = (self.outputs / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
        last = {entry["resource"].lower(): entry["step"] for entry in map(json.loads, lines)}
        return [resource for resource, step in last.items() if step != "removed"]

    def endpoint(self, name: str) -> dict[str, Any]:
        """Return an endpoint as the cloud has it, with its deployments' names."""
        found = {path: body for path, body in self._kept("state")["resources"].items() if f"/{name.lower()}" in path}
        [shown] = [body for path, body in found.items() if path.endswith(f"/onlineendpoints/{name.lower()}")]
        below = f"/onlineendpoints/{name.lower()}/deployments/"
        return {**shown, "deployments": sorted(path.rsplit("/", 1)[1] for path in found if below in path)}

    def serving(self, name: str) -> str:
        """Return the deployment that has all of an endpoint's traffic; it must be the only one."""
        found = self.endpoint(name)
        traffic = {part: share for part, share in found["properties"]["traffic"].items() if share}
        assert (list(traffic.values()), list(traffic)) == ([100], found["deployments"])
        return str(found["deployments"][0])

    def watched(self, name: str) -> "Watch":
        """Return somebody who asks an endpoint all the time."""
        end = f"/onlineendpoints/{name.lower()}#primary"
        [key] = [value for secret, value in self._kept("secrets").items() if secret.lower().endswith(end)]
        return Watch(rig=self.rig, url=self.endpoint(name)["properties"]["scoringUri"], key=key)

    def _kept(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.rig.folder / f"{what}.json").read_text(encoding="utf-8"))
        return found


@contextmanager
def besieged(folder: Path, *, like: Path | None = None, forker: Forker | None = None) -> Iterator[Siege]:
    """Run an emulator whose nodes are stand-ins for a block; `like` is the folder of one that has ended."""
    kept, home = folder / "kept", folder / "home"
    if like:
        shutil.copytree(like, folder, symlinks=True)
    else:
        for place in (kept, home):
            place.mkdir(parents=True)
        runs.facts_file(home)
    with contextlib.ExitStack() as stack:
        if forker is None:
            forker = Forker(folder)
            stack.callback(forker.end)
        python = str(interpreter(folder / "bin", kept=kept))
        rig = stack.enter_context(running(folder / "cloud", python=python, operation_s=0.01))
        rig.admin("/quota", {"standardESv3Family": 1_000_000})
        yield Siege(rig=rig, folder=home, kept=kept, forker=forker)
        assert rig.refused() == []


def interpreter(folder: Path, *, kept: Path) -> Path:
    """Write the stand-in for the nodes' interpreter and return it."""
    folder.mkdir(exist_ok=True)
    launcher = folder / "python"
    words = (sys.executable, "-S", "-E", str(standin.__file__), str(kept), sys.executable)
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    return launcher


@dataclass(kw_only=True)
class Watch:
    """Asks an endpoint all the time, as its users would, and keeps what went wrong."""

    rig: Rig
    url: str
    key: str
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    silent_s: float = 0.0
    """For how long no answer came, in sum."""

    def __enter__(self) -> "Watch":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "User-Agent": _WATCHER}
        trusted = ssl.create_default_context(cafile=self.rig.environment["SSL_CERT_FILE"])
        proxy = self.rig.environment["HTTPS_PROXY"]
        with httpx.Client(headers=headers, proxy=proxy, verify=trusted, trust_env=False, timeout=30.0) as client:
            since = time.monotonic()
            while not self._stop.is_set():
                self.asked += 1
                try:
                    answer = client.post(self.url, json={"input_data": ["?"]})
                    problem = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
                except httpx.TransportError as err:
                    problem = repr(err)
                if problem:
                    self.wrong.append(problem)
                    self.silent_s += time.monotonic() - since
                since = time.monotonic()
                self._stop.wait(0.05)
