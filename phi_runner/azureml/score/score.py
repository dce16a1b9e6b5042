"""`init` and `run` for Azure's inference server: our own application answers, in this process, without a socket.

Azure's gateway checks the endpoint's key before a request comes here; every contract, limit and refusal is the code of
`phi_runner.serve`. Staged beside the package, this file needs what `phi_runner.serve` needs, and httpx.
"""

import asyncio
import os
import secrets
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

_HERE = Path(__file__).resolve().parent
if (_HERE / "phi_runner").is_dir():  # staged: the package lies beside this file
    sys.path.insert(0, str(_HERE))

import httpx  # noqa: E402
from azureml_inference_server_http.api.aml_request import rawhttp  # type: ignore[import-not-found, unused-ignore]  # noqa: E402
from azureml_inference_server_http.api.aml_response import AMLResponse  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

from phi_runner.azureml.score import model_files  # noqa: E402
from phi_runner.errors import DeployFailed  # noqa: E402
from phi_runner.serve import app as application  # noqa: E402
from phi_runner.serve.keys import Keys  # noqa: E402
from phi_runner.serve.service import Service  # noqa: E402
from phi_runner.serve.settings import Settings  # noqa: E402
from phi_runner.template import template_hash  # noqa: E402

if TYPE_CHECKING:
    from azureml_inference_server_http.api.aml_request import AMLRequest

_FOR_LIBRARIES = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
_PASSED_ON = ("Content-Type", "Retry-After")
"""Headers of an answer that reach the gateway, spelt as the server looks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answering:
    """The application and the event loop that it runs in."""

    client: httpx.AsyncClient
    loop: asyncio.AbstractEventLoop

    def ask(self, body: bytes, *, method: str, content_type: str) -> httpx.Response:
        """Hand over one request, from any thread, and wait for its answer."""
        request = self.client.request(method, "/score", content=body, headers={"Content-Type": content_type})
        return asyncio.run_coroutine_threadsafe(request, self.loop).result()


_answering: _Answering | None = None


def _settings(folder: Path) -> Settings:
    """Return what the deployment was told through its environment; raises DeployFailed when the template differs."""
    told, own = os.environ.get("PHI_RUNNER_TEMPLATE_HASH", ""), template_hash(folder)
    if told and told != own:
        raise DeployFailed(
            f"the model has another chat template (sha256 {own[:12]}) than it was trained with ({told[:12]}): "
            "register it again with force=[register]"
        )
    label = os.environ.get("PHI_RUNNER_MODEL", "model")
    return Settings(
        name=label, model_folder=str(folder), label=label, template_hash=own, key_file="", announce="",
        device=_device(),
        max_concurrent=int(os.environ.get("PHI_RUNNER_MAX_CONCURRENT", "3")),
        request_timeout_s=float(os.environ.get("PHI_RUNNER_REQUEST_TIMEOUT_S", "180")),
        max_queue_wait_s=float(os.environ.get("PHI_RUNNER_MAX_QUEUE_WAIT_S", "120")),
        max_new_tokens=int(os.environ.get("PHI_RUNNER_MAX_NEW_TOKENS", "128")),
    )  # fmt: skip


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def init() -> None:
    """Load the model in `AZUREML_MODEL_DIR`; raises DeployFailed, which ends the container with its words."""
    global _answering
    for name, value in _FOR_LIBRARIES.items():
        os.environ.setdefault(name, value)
    root = Path(os.environ["AZUREML_MODEL_DIR"])
    folder = model_files.joined(root, folder=Path(tempfile.mkdtemp(prefix="phi-runner-model-")))
    settings = _settings(folder)
    from phi_runner.model.engines import batched

    engine = batched.TransformersEngine(folder, device=settings.device, slots=settings.max_concurrent or batched.SLOTS)
    key = secrets.token_urlsafe(32)  # nobody else knows it: the only way in is `run`
    service = Service(settings=settings, engine=engine)
    transport = httpx.ASGITransport(app=application.build(service, keys=Keys([key])), raise_app_exceptions=False)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="answering", daemon=True).start()
    client = httpx.AsyncClient(
        transport=transport, base_url="http://endpoint", headers={"Authorization": f"Bearer {key}"}
    )
    _answering = _Answering(client=client, loop=loop)


@rawhttp  # type: ignore[untyped-decorator, unused-ignore]
def run(request: "AMLRequest") -> "AMLResponse":
    """Answer one request as our own endpoint does, with its status."""
    if _answering is None:
        raise DeployFailed("init() has not run")
    answer = _answering.ask(
        request.get_data(), method=request.method, content_type=request.headers.get("Content-Type", "application/json")
    )
    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return AMLResponse(answer.content, answer.status_code, headers)
