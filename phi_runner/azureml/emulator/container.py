"""The containers of deployments: a process each, with the model and the code brought there."""

import json
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from phi_runner import processes
from phi_runner.azureml.emulator import node, places
from phi_runner.azureml.emulator.cloud import Body, Cloud, now

if TYPE_CHECKING:
    import subprocess

_POLL_S = 0.1
_BOOT_S = 300.0
"""A container that does not answer for so long counts as crashed: what its probes allow is for images to be pulled."""
_lock = threading.Lock()
_numbers = iter(range(1, 1_000_000_000))


class ContainerFailed(Exception):
    """A container that does not come up; `code` is the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Container:
    """One process that serves a deployment."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    port: int = 0
    """0 until it listens."""
    ready: threading.Event = field(default_factory=threading.Event)
    """Set when it answers, and when it never will."""

    @property
    def alive(self) -> bool:
        """Whether requests can be sent to it."""
        return self.port > 0 and self.process.poll() is None


class Containers:
    """The containers of one cloud; they end with the emulator and are started again by the next one."""

    def __init__(self, cloud: Cloud) -> None:
        """Start the containers of deployments that an earlier emulator has brought up, in the background."""
        self._cloud = cloud
        self._current: dict[str, Container] = {}
        self._due: dict[str, threading.Event] = {}
        for path in cloud.paths():
            if "/onlineendpoints/" in path and "/deployments/" in path:
                shown = (cloud.get(path) or {})["properties"]
                if shown.get("provisioningState") in ("Succeeded", "Updating") or cloud.private(path).get("served"):
                    self._due[path] = threading.Event()
                    threading.Thread(target=self._restart, args=(path,), daemon=True).start()

    def _restart(self, path: str) -> None:
        try:
            self.start(path)
        except ContainerFailed as failure:
            self.note(path, f"the container did not come up again: {failure}")
        finally:
            self._due[path].set()

    def current(self, path: str, *, wait_s: float) -> Container | None:
        """Return a deployment's container, waiting for one that an emulator's restart has ended."""
        if due := self._due.get(path.lower()):
            due.wait(wait_s)
        return self._current.get(path.lower())

    def start(self, path: str) -> None:
        """Start a container and let it take over once it answers; raises ContainerFailed."""
        made = self._boot(path)
        try:
            _await_answer(made)
        except ContainerFailed:
            self._end(made)
            raise
        finally:
            made.ready.set()
        before, self._current[path.lower()] = self._current.get(path.lower()), made
        self._cloud.note(path, served=True)
        if before:
            self._end(before)

    def stop(self, path: str) -> None:
        """End a deployment's container and forget its files."""
        if found := self._current.pop(path.lower(), None):
            self._end(found)
        shutil.rmtree(self._home(path), ignore_errors=True)

    def end(self) -> None:
        """End all containers; their deployments stay."""
        for path in list(self._current):
            self._end(self._current.pop(path))

    def log(self, path: str, *, storage: bool) -> str:
        """Return the log of a deployment's newest container, or of the step that brought its files."""
        file = self._home(path) / ("storage.log" if storage else "container.log")
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def note(self, path: str, text: str) -> None:
        """Write a line to the log of the step that brings files."""
        home = self._home(path)
        home.mkdir(parents=True, exist_ok=True)
        with (home / "storage.log").open("a", encoding="utf-8") as log:
            log.write(f"{now()} {text}\n")

    def _home(self, path: str) -> Path:
        parts = path.lower().split("/")
        return self._cloud.folder / "deployments" / f"{parts[-3]}.{parts[-1]}"

    def _end(self, container: Container) -> None:
        container.port = 0
        processes.stop(container.process.pid, grace_s=5)
        container.process.wait()
        shutil.rmtree(container.folder, ignore_errors=True)

    def _boot(self, path: str) -> Container:
        home = self._home(path)
        folder = home / f"{int(time.time())}-{next(_numbers)}"
        folder.mkdir(parents=True)
        spec = self._spec(path, (self._cloud.get(path) or {}).get("properties", {}), folder=folder)
        file = folder / "spec.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        log = home / "container.log"
        log.unlink(missing_ok=True)
        process = processes.start("phi_runner.azureml.emulator.image", [str(file)], log=log, detach=False)
        return Container(folder=folder, process=process)

    def _spec(self, path: str, deployment: Body, *, folder: Path) -> Body:
        """Bring model and code, and return what the process in the container is told."""
        workspace = path[: path.lower().index("/onlineendpoints/")]
        environment = node.environment(self._cloud.settings.python, folder=folder / "bin")
        spec: Body = {
            "python": self._cloud.settings.python, "announce": str(folder / "port"), "code": "", "script": "",
            "package_root": str(Path(sys.modules["phi_runner"].__path__[0]).parent),
        }  # fmt: skip
        model = str(deployment.get("model") or "")
        if model:
            home, name = self._model(path, workspace=workspace, model=model, folder=folder)
            environment |= {"AZUREML_MODEL_DIR": str(home), "MLFLOW_MODEL_FOLDER": name}
        if code := deployment.get("codeConfiguration"):
            target = folder / "code"
            self._bring(path, workspace=workspace, uri=str(code["codeId"]), target=target, what="code")
            spec |= {"code": str(target), "script": str(code["scoringScript"])}
            environment |= {"AML_APP_ROOT": str(target), "AZUREML_ENTRY_SCRIPT": str(code["scoringScript"])}
        given = {str(name): str(value) for name, value in (deployment.get("environmentVariables") or {}).items()}
        return spec | {"environment": environment | given}

    def _model(self, path: str, *, workspace: str, model: str, folder: Path) -> tuple[Path, str]:
        """Bring a model to where the service mounts it; return AZUREML_MODEL_DIR and the name of what is in it."""
        parts = model.split("/")
        home = folder / "azureml-models" / parts[-3] / parts[-1]
        place = places.locate(self._cloud, workspace=workspace, uri=model)
        name = place.path.rsplit("/", 1)[-1] if place else "model"
        single = place is not None and place.path in self._cloud.blobs.names(place.container, place.path)
        target = home if single else home / name  # a model's folder keeps its own name below the mount
        self._bring(path, workspace=workspace, uri=model, target=target, what="model")
        return home, name

    def _bring(self, path: str, *, workspace: str, uri: str, target: Path, what: str) -> None:
        place = places.locate(self._cloud, workspace=workspace, uri=uri)
        if place is None or places.fetch(self._cloud, place, target) is None:
            self.note(path, f"downloading the {what} {uri} failed: nothing is there")
            raise ContainerFailed("ResourceNotFound", f"The {what} {uri} of the deployment cannot be downloaded.")
        self.note(path, f"downloaded the {what} {uri}")


def _await_answer(container: Container) -> None:
    """Wait until a container is healthy; raises ContainerFailed."""
    import httpx

    crashed = ContainerFailed(
        "ResourceNotReady",
        "User container has crashed or terminated. Please see troubleshooting guide, available here: "
        "https://aka.ms/oe-tsg#error-resourcenotready",
    )
    announce, until = container.folder / "port", time.monotonic() + _BOOT_S
    while time.monotonic() < until:
        if container.process.poll() is not None:
            raise crashed
        if announce.exists():
            port = int(announce.read_text(encoding="ascii"))
            try:
                healthy = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=5).status_code == 200
            except httpx.HTTPError:
                healthy = False
            if healthy:
                container.port = port
                return
        time.sleep(_POLL_S)
    raise crashed


_all: WeakKeyDictionary[Cloud, Containers] = WeakKeyDictionary()


def of(cloud: Cloud) -> Containers:
    """Return the containers of a cloud; the first call starts those that an earlier emulator had."""
    with _lock:
        found = _all.get(cloud)
        if found is None:
            found = _all[cloud] = Containers(cloud)
        return found
