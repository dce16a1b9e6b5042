"""Injected faults, and the admin host through which tests ask for them; nothing here survives a restart."""

import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from starlette.responses import JSONResponse, Response

from phi_runner.azureml.emulator import scoring
from phi_runner.azureml.emulator.answers import error, ok
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud
from phi_runner.azureml.emulator.settings import ADMIN_HOST

_MODES = ("answer", "drop", "lost", "kill", "kill_after")


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with calls whose `METHOD host/path` the regular expression `match` finds."""

    match: str
    method: str = "*"
    agent: str = ""
    """Regular expression at the start of the client's User-Agent; the emulator's own begins with `emulator`."""
    times: int = 1
    """How many calls it strikes; -1 for all."""
    after: int = 0
    """How many matching calls pass before."""
    mode: str = "answer"
    """`answer`: an error instead of handling; `drop`: no answer, nothing done; `lost`: done, but no answer; `kill` and
    `kill_after`: the same two, and the client's process `pid` gets SIGKILL."""
    pid: int = 0
    status: int = 0
    """0 with mode `answer`: the call is only delayed."""
    code: str = "InjectedFault"
    message: str = "A fault was injected."
    headers: dict[str, str] = field(default_factory=dict)
    body: Body | None = None
    """Instead of the body made of `code` and `message`."""
    delay_s: float = 0.0
    injected: int = 0
    passed: int = 0

    @property
    def handles(self) -> bool:
        """Whether a call that gets no error is handled."""
        return self.mode not in ("drop", "kill")

    @property
    def silent(self) -> bool:
        """Whether the client gets no answer."""
        return self.mode != "answer"

    def kill(self) -> None:
        """Kill the client where that is what is to happen."""
        if self.mode in ("kill", "kill_after"):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def answer(self) -> Response | None:
        """Return the error, None when the call is to be handled after all."""
        if not self.status:
            return None
        if self.body is not None:
            return JSONResponse(self.body, self.status, headers=self.headers)
        return error(self.status, self.code, self.message, headers=self.headers)


class Faults:
    """The faults that wait for their calls; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def meet(self, *, method: str, host: str, path: str, agent: str) -> Fault | None:
        """Return the first fault that strikes a call, and count it."""
        line = f"{method} {host}{path}"
        with self._lock:
            for fault in self._faults:
                if fault.method not in ("*", method) or not re.search(fault.match, line, re.IGNORECASE):
                    continue
                if not re.match(fault.agent, agent, re.IGNORECASE):
                    continue
                if fault.passed < fault.after:
                    fault.passed += 1
                elif fault.times < 0 or fault.injected < fault.times:
                    fault.injected += 1
                    return fault
        return None

    def add(self, body: Body) -> None:
        """Add a fault; raises TypeError or ValueError when `body` is none."""
        fault = Fault(**body)
        re.compile(fault.match)
        re.compile(fault.agent)
        if fault.mode not in _MODES:
            raise ValueError(f"mode={fault.mode!r} is none of {', '.join(_MODES)}")
        if fault.mode.startswith("kill") and fault.pid <= 1:
            raise ValueError(f"mode={fault.mode!r} needs the pid of the process to kill")
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults with their counts."""
        with self._lock:
            self._faults.clear()

    def listed(self) -> list[Body]:
        """Return the faults with how often each was injected."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]


class Admin:
    """The tests' side door: `handle` is a service like the others, for one host."""

    def __init__(self, faults: Faults, *, refused: Callable[[], list[Body]]) -> None:
        self._faults, self._refused = faults, refused

    def handle(self, cloud: Cloud, call: Call) -> Response | None:
        """Answer GET /faults, /refused, /served, /state, POST /faults, /clear, /quota, /mode, /endpoints, /expire."""
        if call.host != ADMIN_HOST:
            return None
        found = self._shown(cloud, call) if call.method == "GET" else self._done(cloud, call)
        return error(404, "NotFound", f"no {call.method} {call.path} here") if found is None else found

    def _shown(self, cloud: Cloud, call: Call) -> Response | None:
        match call.low:
            case "/faults":
                return ok({"value": self._faults.listed()})
            case "/refused":
                return ok({"value": self._refused()})
            case "/state":
                return ok({"resources": cloud.paths()})
            case "/served":
                return ok({"value": scoring.served(cloud)})
            case _:
                return None

    def _done(self, cloud: Cloud, call: Call) -> Response | None:
        match call.low:
            case "/faults":
                return self._add(call.body)
            case "/clear":
                self._faults.clear()
            case "/quota" | "/mode" | "/endpoints":
                cloud.note(call.low, **call.body)
            case "/expire":
                cloud.note("/tokens", generation=cloud.private("/tokens").get("generation", 0) + 1, **call.body)
            case _:
                return None
        return ok({})

    def _add(self, body: Body) -> Response:
        try:
            self._faults.add(body)
        except (TypeError, ValueError, re.error) as err:
            return error(400, "BadRequest", str(err))
        return ok({}, 201)
