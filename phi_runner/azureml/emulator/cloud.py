"""What the emulated cloud holds: resources by ARM path, operations in progress, secrets; all survive a restart."""

import json
import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phi_runner.azureml.emulator.blobs import Blobs
    from phi_runner.azureml.emulator.settings import Settings

from phi_runner.errors import StoreProblem

Body = dict[str, Any]
TENANT = "11111111-1111-1111-1111-111111111111"
OBJECT_ID = "22222222-2222-2222-2222-222222222222"
"""The signed-in principal."""
_INTERRUPTED = {"code": "InternalServerError", "message": "The operation was interrupted."}
_STATE, _SECRETS = "state.json", "secrets.json"


def now() -> str:
    """Return the time as ARM writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: `path` keeps the client's spelling, `body` is the parsed JSON object (empty when there is none)."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Body
    raw: bytes

    @property
    def low(self) -> str:
        """The path in lower case: ARM paths do not differ by case."""
        return self.path.lower()


@dataclass(slots=True, kw_only=True)
class Operation:
    """A long-running operation; `due` is when it ends at the earliest, in seconds since the epoch."""

    id: str
    path: str
    due: float
    waiting: bool = False
    """True while work in this process decides how it ends."""
    set_properties: Body = field(default_factory=dict)
    remove: bool = False
    error: Body | None = None
    applied: bool = False


class Cloud:
    """The resources of all subscriptions; safe to use from several threads.

    The server sets `settings` and `blobs` before the first call.
    """

    settings: "Settings"
    blobs: "Blobs"

    def __init__(self, folder: Path, *, operation_s: float = 0.3) -> None:
        """Open the state in `folder`; an operation takes at least `operation_s` seconds."""
        self.folder, self.operation_s = folder, operation_s
        self.lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = _read(folder / _STATE)
        self._resources: dict[str, Body] = kept.get("resources", {})
        self._private: dict[str, Body] = kept.get("private", {})
        self._operations = {item["id"]: Operation(**item) for item in kept.get("operations", [])}
        self._secrets: dict[str, str] = _read(folder / _SECRETS)
        for operation in self._operations.values():
            if operation.waiting:  # the process that worked on it is gone
                operation.waiting = False
                operation.error = dict(_INTERRUPTED) if operation.set_properties else None

    def _save(self) -> None:
        _write(
            self.folder / _STATE,
            {
                "resources": self._resources,
                "private": self._private,
                "operations": [asdict(item) for item in self._operations.values()],
            },
        )

    def get(self, path: str) -> Body | None:
        """Return a copy of the resource at an ARM path."""
        with self.lock:
            return deepcopy(self._resources.get(path.lower().rstrip("/")))

    def put(self, path: str, body: Body, **properties: Any) -> Body:
        """Store a resource as ARM shows it, with `properties` added to its own; return a copy."""
        with self.lock:
            path = path.rstrip("/")
            before = self._resources.get(path.lower())
            kinds = path.split("/providers/")[-1].split("/")
            system = {"lastModifiedAt": now(), "lastModifiedBy": "emulator", "lastModifiedByType": "User"}
            made = {"createdAt": now(), "createdBy": "emulator", "createdByType": "User"}
            stored = deepcopy(body) | {
                "id": before["id"] if before else path,
                "name": path.rsplit("/", 1)[1],
                "type": "/".join([kinds[0], *kinds[1::2]]) if "/providers/" in path else body.get("type"),
                "systemData": (before["systemData"] if before else made) | system,
            }
            stored["properties"] = {**(stored.get("properties") or {}), **properties}
            self._resources[path.lower()] = stored
            self._save()
            return deepcopy(stored)

    def change(self, path: str, **properties: Any) -> Body | None:
        """Set properties of a resource that is there; return a copy of it, None when it is not."""
        with self.lock:
            found = self._resources.get(path.lower())
            if found is None:
                return None
            found["properties"].update(properties)
            self._save()
            return deepcopy(found)

    def remove(self, path: str) -> bool:
        """Remove a resource with everything below it; say whether it was there."""
        with self.lock:
            low = path.lower().rstrip("/")
            doomed = [key for key in self._resources if key == low or key.startswith(f"{low}/")]
            for key in doomed:
                del self._resources[key]
                self._private.pop(key, None)
            self._save()
            return bool(doomed)

    def children(self, path: str) -> list[Body]:
        """Return copies of the resources right below a collection's path, in the order of their making."""
        with self.lock:
            start = f"{path.lower().rstrip('/')}/"
            found = [value for key, value in self._resources.items() if key.startswith(start)]
            return deepcopy([item for item in found if "/" not in item["id"].lower().removeprefix(start)])

    def paths(self) -> list[str]:
        """Return the lower-case paths of all resources."""
        with self.lock:
            return sorted(self._resources)

    def private(self, path: str) -> Body:
        """Return a copy of what the emulator itself notes about a path; no client sees it."""
        with self.lock:
            return deepcopy(self._private.get(path.lower(), {}))

    def note(self, path: str, **facts: Any) -> None:
        """Note something about a path that no client sees."""
        with self.lock:
            self._private.setdefault(path.lower(), {}).update(facts)
            self._save()

    def secret(self, name: str, *, renew: bool = False) -> str:
        """Return the secret of that name, made when it is new or to be renewed; kept apart, mode 0600."""
        with self.lock:
            if renew or name not in self._secrets:
                self._secrets[name] = secrets.token_urlsafe(32)
                _write(self.folder / _SECRETS, self._secrets)
            return self._secrets[name]

    def begin(
        self, path: str, *, set_properties: Body | None = None, remove: bool = False, error: Body | None = None,
        work: Callable[[], Body | None] | None = None,
    ) -> Operation:  # fmt: skip
        """Begin an operation on a path; `work` runs in a thread and returns an error or None.

        At its end the resource gets `set_properties`, or goes with `remove`; with an error its provisioningState is
        Failed.
        """
        operation = Operation(
            id=str(uuid.uuid4()), path=path, due=time.time() + self.operation_s, waiting=work is not None,
            set_properties=set_properties or {}, remove=remove, error=error,
        )  # fmt: skip
        with self.lock:
            self._operations[operation.id] = operation
            self._save()
        if work:
            threading.Thread(target=self._work, args=(operation, work), daemon=True).start()
        return operation

    def take_up(self, path: str, work: Callable[[], Body | None]) -> bool:
        """Go on with the operation on a path that this emulator's start has found interrupted; say whether it did."""
        with self.lock:
            for operation in self._operations.values():
                found = operation.path.lower() == path.lower() and operation.error == _INTERRUPTED
                if found and not operation.applied:
                    operation.error, operation.waiting = None, True
                    threading.Thread(target=self._work, args=(operation, work), daemon=True).start()
                    return True
        return False

    def _work(self, operation: Operation, work: Callable[[], Body | None]) -> None:
        error: Body | None = {"code": "InternalServerError", "message": "The operation ended without a result."}
        try:
            error = work()
        finally:
            with self.lock:
                operation.error, operation.waiting = error, False
                self._save()

    def operation(self, number: str) -> tuple[str, Operation] | None:
        """Return `InProgress`, `Succeeded` or `Failed` and the operation, or None when there is no such one."""
        with self.lock:
            operation = self._operations.get(number)
            if operation is None:
                return None
            if operation.waiting or time.time() < operation.due:
                return "InProgress", operation
            self._apply(operation)
            return ("Failed" if operation.error else "Succeeded"), operation

    def settle(self) -> None:
        """Apply every operation that is due: the world goes on whether or not the client asks."""
        with self.lock:
            for operation in self._operations.values():
                if not operation.applied and not operation.waiting and time.time() >= operation.due:
                    self._apply(operation)

    def _apply(self, operation: Operation) -> None:
        if operation.applied:
            return
        operation.applied = True
        if operation.error:
            self.change(operation.path, provisioningState="Failed")
        elif operation.remove:
            self.remove(operation.path)
        else:
            self.change(operation.path, **operation.set_properties)
        self._save()


def _read(file: Path) -> Body:
    try:
        found: Body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as err:
        raise StoreProblem(f"{file} is damaged: remove {file.parent} to begin with an empty cloud") from err
    return found


def _write(file: Path, value: object) -> None:
    """Replace a file whole, readable by its owner alone."""
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    aside.replace(file)
