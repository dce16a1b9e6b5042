"""`python -m phi_runner.azureml.emulator --folder F --announce FILE`: one emulated cloud, until SIGTERM."""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from phi_runner import processes
from phi_runner.azureml.emulator import azurite, deployments, jobs, tls
from phi_runner.azureml.emulator.blob_service import BlobService
from phi_runner.azureml.emulator.blobs import Blobs, account_key
from phi_runner.azureml.emulator.cloud import Cloud
from phi_runner.azureml.emulator.faults import Admin, Faults
from phi_runner.azureml.emulator.proxy import Proxy
from phi_runner.azureml.emulator.server import Front, Server
from phi_runner.azureml.emulator.settings import SIGN_IN, SUBSCRIPTION, Settings
from phi_runner.azureml.emulator.wire import Wire
from phi_runner.errors import PhiRunnerError

_DRAIN_S = 2.0
"""How long an emulator that was told to end may still hold its folder."""


class EmulatorFailed(PhiRunnerError):
    """The emulator cannot start."""


def main() -> int:
    """Emulate until SIGTERM, or until the process that started us is gone; return the exit code."""
    settings = _settings()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # uvicorn raises it again when it has drained
    processes.stop_with_parent()
    try:
        _emulate(settings)
    except SystemExit:
        pass
    except PhiRunnerError as err:
        sys.stderr.write(f"error: {err}\n")
        return err.exit_code
    sys.stderr.flush()
    os._exit(0)  # threads that still wait for a model's answer would keep us for minutes


def _end(_number: int, _frame: object) -> None:
    raise SystemExit


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m phi_runner.azureml.emulator")
    parser.add_argument("--folder", type=Path, required=True, help="where the emulated cloud keeps its state")
    parser.add_argument("--announce", type=Path, required=True, help="JSON file written when it is ready")
    parser.add_argument("--wire-log", type=Path, help="JSONL file of all calls; default: FOLDER/wire.jsonl")
    parser.add_argument("--operation-s", type=float, default=0.3, help="shortest time of a long operation")
    parser.add_argument("--blobs", choices=["auto", "builtin", "azurite"], default="auto", help="blob server")
    parser.add_argument("--python", default=sys.executable, help="interpreter of jobs and deployments")
    parser.add_argument("--port", type=int, default=0, help="of the proxy; 0: any free one")
    parser.add_argument("--subscription", default=SUBSCRIPTION)
    given = parser.parse_args()
    folder = given.folder.absolute()
    return Settings(
        folder=folder, announce=given.announce.absolute(),
        wire_log=given.wire_log.absolute() if given.wire_log else folder / "wire.jsonl",
        operation_s=given.operation_s, blobs=given.blobs, python=given.python, port=given.port,
        subscription=given.subscription,
    )  # fmt: skip


def _emulate(settings: Settings) -> None:
    from filelock import FileLock, Timeout

    settings.folder.mkdir(parents=True, exist_ok=True)
    settings.folder.chmod(0o700)
    lock = FileLock(settings.folder / ".lock")
    try:
        lock.acquire(timeout=_DRAIN_S)
    except Timeout as err:
        raise EmulatorFailed(
            f"another emulator keeps its state in {settings.folder}: end it, or use another folder"
        ) from err
    try:
        asyncio.run(_run(settings))
    except OSError as err:
        raise EmulatorFailed(f"cannot listen on 127.0.0.1:{settings.port}: {err.strerror}") from err
    finally:
        settings.announce.unlink(missing_ok=True)
        lock.release()


async def _run(settings: Settings) -> None:
    cloud = Cloud(settings.folder, operation_s=settings.operation_s)
    cloud.settings = settings
    cloud.secret(SIGN_IN)
    ca, certificate = tls.authority(settings.folder)
    key = account_key(cloud.secret("storage"))
    proxy = Proxy(refusals=settings.folder / "refused.jsonl")
    address = f"http://127.0.0.1:{await proxy.listen(settings.port)}"
    other = azurite.start(settings, ca=ca, key=key) if settings.blobs == "azurite" else None
    cloud.blobs = Blobs(key=key, proxy=address, ca=certificate, fixed_account=other is not None)
    wire, faults = Wire(settings.wire_log), Faults()
    own = None if other else BlobService(cloud, folder=settings.folder / "blobs", key=key)
    front = Front(cloud, wire=wire, faults=faults, admin=Admin(faults, refused=proxy.refused), blobs=own)

    def ready(port: int) -> None:
        proxy.lead(control=port, blobs=other.port if other else port)
        jobs.resume(cloud)
        deployments.resume(cloud)
        _announce(settings, proxy=address, certificate=certificate)

    try:
        await Server(front, context=tls.server_context(ca), on_ready=ready).serve()
    finally:
        proxy.close()
        if other:
            processes.stop(other.pid)
        wire.close()


def _announce(settings: Settings, *, proxy: str, certificate: Path) -> None:
    settings.announce.parent.mkdir(parents=True, exist_ok=True)
    aside = settings.announce.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps({"proxy": proxy, "ca": str(certificate), "pid": os.getpid()}), encoding="utf-8")
    aside.replace(settings.announce)


if __name__ == "__main__":
    sys.exit(main())
