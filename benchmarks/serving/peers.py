"""Whom our endpoint is measured against, each as its makers start it."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.venv import CannotInstall, interpreter
from benchmarks.serving.ask import Dialect
from benchmarks.serving.servers import CannotServe, Place, Server, Up, free_port, process

_SCRIPTS = Path(__file__).with_name("scripts")
_BATCHING = (
    "--continuous-batching", "--cb-block-size", "64", "--cb-num-blocks", "128", "--cb-max-batch-tokens", "1024",
)  # fmt: skip
"""Room for 16 answers; left to itself it asks how much memory a GPU has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the environment of a peer holds that cannot share ours."""

    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()


AZURE = Environment(packages=("azureml-inference-server-http==1.5.1", "transformers==5.23.0", "accelerate==1.15.0"))


def _bare(place: Place) -> AbstractContextManager[Up]:
    port = free_port()
    command = [sys.executable, str(_SCRIPTS / "bare.py"), str(place.model), str(port)]
    return process(command, port=port, ready="/health", folder=place.folder)


def _transformers(place: Place, *options: str) -> AbstractContextManager[Up]:
    port = free_port()
    program = Path(sys.executable).with_name("transformers")
    if not program.is_file():
        raise CannotServe("transformers has no command line in this environment")
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    command = [str(program), "serve", str(place.model), *where, *options]
    return process(command, port=port, ready="/health", folder=place.folder)


@contextmanager
def _mlflow(place: Place) -> Iterator[Up]:
    saved = place.model.with_name(f"{place.model.name}-mlflow")
    if not (saved / "MLmodel").is_file():
        _save_for_mlflow(place.model, saved)
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local", *where]
    told = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{place.folder / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # it starts uvicorn by name
    }
    with process(command, port=port, ready="/health", folder=place.folder, environment=told) as up:
        yield up


def _save_for_mlflow(model: Path, saved: Path) -> None:
    import mlflow.transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    aside = saved.with_suffix(".new")
    shutil.rmtree(aside, ignore_errors=True)
    parts = {"model": AutoModelForCausalLM.from_pretrained(model), "tokenizer": AutoTokenizer.from_pretrained(model)}
    mlflow.transformers.save_model(parts, str(aside), task="llm/v1/chat", pip_requirements=["transformers", "torch"])
    aside.rename(saved)


@contextmanager
def _inference_server(place: Place) -> Iterator[Up]:
    """Serve a score script; the server's own command line listens on all addresses, so gunicorn is started itself."""
    try:
        python = interpreter(AZURE, folder=place.venvs, limit_s=place.install_s)
    except CannotInstall as err:
        raise CannotServe(str(err)) from err
    port = free_port()
    command = [
        str(python), "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "--timeout", "300",
        "azureml_inference_server_http.server.entry:app",
    ]  # fmt: skip
    told = {
        "AZUREML_ENTRY_SCRIPT": str(_SCRIPTS / "score.py"), "AZUREML_MODEL_DIR": str(place.model),
        "AML_APP_ROOT": str(_SCRIPTS), "AML_APP_INSIGHTS_ENABLED": "false",
    }  # fmt: skip
    with process(command, port=port, ready="/", folder=place.folder, environment=told) as up:
        yield up


BARE = Server(
    name="generate behind FastAPI", about="a lock, generate, a streamer", dialect=Dialect.chat_stream, up=_bare
)
BATCHING = Server(
    name="transformers serve --continuous-batching", about=" ".join(_BATCHING[1:]), dialect=Dialect.chat_stream,
    up=lambda place: _transformers(place, *_BATCHING),
)  # fmt: skip
PLAIN = Server(name="transformers serve", about="as it comes", dialect=Dialect.chat_stream, up=_transformers)
MLFLOW = Server(
    name="mlflow models serve", about="llm/v1/chat, no stream", dialect=Dialect.invocations, up=_mlflow
)  # fmt: skip
AZUREML = Server(
    name="azureml-inference-server-http", about="a score script with generate, one worker, no stream",
    dialect=Dialect.score, up=_inference_server,
)  # fmt: skip
