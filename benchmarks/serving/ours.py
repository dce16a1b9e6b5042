"""Our endpoint, deployed as `deploy=local` does it: a gateway process and an engine process behind it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.serving.ask import Dialect
from benchmarks.serving.servers import CannotServe, Place, Server, Up, family
from phi_runner import processes
from phi_runner.config.schema import LocalDeploy, StageName
from phi_runner.config.schema.serving import EngineName, ExportPrecision
from phi_runner.deploy import keys, local
from phi_runner.deploy.local import Wanted
from phi_runner.errors import PhiRunnerError
from phi_runner.events import Events, StageEvents
from phi_runner.serve import settings as settings_file
from phi_runner.template import template_hash

NAME = "benched"


def wanted(
    model: Path, outputs: Path, *, label: str = "small/1", answers: Path | None = None, engine_folder: str = "",
    **config: object,
) -> Wanted:  # fmt: skip
    """Return the wish for an endpoint of a model, its key and its logs below `outputs`."""
    return Wanted(
        config=LocalDeploy(name=NAME, **config),  # type: ignore[arg-type]
        model_folder=model, label=label, template_hash=template_hash(model), device="cpu", outputs=outputs,
        answers=answers, engine_folder=engine_folder,
    )  # fmt: skip


def silent() -> StageEvents:
    """Return a deploy stage's events that nobody listens to."""
    return StageEvents(Events(), StageName.deploy)


@contextmanager
def deployed(wish: Wanted) -> Iterator[Up]:
    """Deploy, and take the endpoint down when the block ends; raises CannotServe."""
    begun = time.perf_counter()
    try:
        running = local.deploy(wish, events=silent())
    except (PhiRunnerError, ImportError) as err:
        raise CannotServe(str(err)) from err
    spent_s = time.perf_counter() - begun
    try:
        yield Up(url=running.url, pid=running.pid, start_s=spent_s, key=keys.read(wish.key_file))
    finally:
        for left in processes.listed(outputs=wish.outputs):
            processes.stop_recorded(left, outputs=wish.outputs)


def engines(pid: int) -> list[psutil.Process]:
    """Return the engine processes below an endpoint's process, the youngest last."""
    found = []
    for member in family(pid):
        try:
            if "phi_runner.serve" in member.cmdline():
                found.append(member)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda member: member.create_time())


def past_the_gateway(up: Up) -> Up:
    """Return the same endpoint with the address of its engine."""
    engine = engines(up.pid)[-1]
    words = engine.cmdline()
    told = settings_file.read(Path(words[words.index("--settings") + 1]))
    return replace(up, url=f"http://127.0.0.1:{settings_file.announced(Path(told.announce))}")


@contextmanager
def _up(place: Place, *, engine: EngineName, precision: ExportPrecision, gateway: bool) -> Iterator[Up]:
    exported = _exported(place, precision) if engine is EngineName.onnx else ""
    wish = wanted(place.model, place.folder, engine=engine, precision=precision, engine_folder=exported)
    with deployed(wish) as up:
        yield up if gateway else past_the_gateway(up)


def _exported(place: Place, precision: ExportPrecision) -> str:
    """Return the model's export, made once and kept for all rounds and runs: it is no part of the start."""
    try:
        from phi_runner.model.onnx import export

        found = export.ensure(place.model, precision=precision, outputs=place.folder.parent, events=silent())
    except (PhiRunnerError, ImportError) as err:
        raise CannotServe(str(err)) from err
    return str(found.folder)


def _server(
    name: str, *, engine: EngineName, precision: ExportPrecision = ExportPrecision.fp32, gateway: bool = True
) -> Server:
    return Server(
        name=name if gateway else f"{name}, no gateway", dialect=Dialect.chat_stream,
        about="deploy=local, its defaults" if gateway else "the same, its engine asked directly",
        up=lambda place: _up(place, engine=engine, precision=precision, gateway=gateway),
        bandwidth_bound=precision is ExportPrecision.fp32,
    )  # fmt: skip


TRANSFORMERS = _server("phi_runner", engine=EngineName.transformers)
ONNX_FP32 = _server("phi_runner onnx fp32", engine=EngineName.onnx)
ONNX_INT4 = _server("phi_runner onnx int4", engine=EngineName.onnx, precision=ExportPrecision.int4)
DIRECT = (
    _server("phi_runner", engine=EngineName.transformers, gateway=False),
    _server("phi_runner onnx fp32", engine=EngineName.onnx, gateway=False),
    _server("phi_runner onnx int4", engine=EngineName.onnx, precision=ExportPrecision.int4, gateway=False),
)
