"""The azureml engine: Azure's inference server with the scoring code that the cloud runs, in an environment of its own.

It gives an answer in one piece and cannot be told to stop: a cancelled answer keeps its slot until it is said.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.errors import DeployFailed
from phi_runner.model.answering import Engine, EngineFailed, Finish, Finished, Prompt, Sampling
from phi_runner.serve.upstream import models
from phi_runner.serve.upstream.engine import UpstreamEngine
from phi_runner.serve.upstream.exchange import Telling
from phi_runner.serve.upstream.server import UpstreamServer

if TYPE_CHECKING:
    import httpx

    from phi_runner.model.engines.prompts import Prompts
    from phi_runner.serve.settings import Settings

_NAME = "Azure's inference server"
_SCRIPT = "score.py"
_APPLICATION = "azureml_inference_server_http.server.entry:app"
_SLOTS = 3
"""Answers at a time in the tutorials' deployments."""
_GRACEFUL_S = 8
_START_S = 1800
"""The server's own WORKER_TIMEOUT as our deployments set it."""


def open_azureml(settings: "Settings", *, on_death: Callable[[BaseException], None]) -> Engine:
    """Start the server on the settings' model with the code in `engine_folder`; raises DeployFailed."""
    if not (settings.engine_python and settings.engine_folder):
        raise DeployFailed("deploy.engine=azureml was not prepared: deploy again with force=[deploy]")
    folder, slots = Path(settings.model_folder), settings.max_concurrent or _SLOTS

    def command(socket: Path) -> list[str]:
        # the server's own command would listen on every address
        return [
            settings.engine_python, "-I", "-m", "gunicorn", f"--bind=unix:{socket}", "--workers=1",
            f"--chdir={settings.engine_folder}", f"--timeout={_START_S}", f"--graceful-timeout={_GRACEFUL_S}",
            "--access-logfile=-", "--error-logfile=-", _APPLICATION,
        ]  # fmt: skip

    server = UpstreamServer(_NAME, command, environment=variables(settings, slots=slots))
    try:
        server.wait_until_healthy("/")
        prompts = models.prompts(folder)
        ask = _Asking(prompts=prompts)
        return UpstreamEngine(prompts, server=server, ask=ask, slots=slots, on_death=on_death)
    except BaseException:
        server.close()
        raise


def variables(settings: "Settings", *, slots: int) -> dict[str, str]:
    """Return what the cloud tells server and scoring code through the environment."""
    return {
        "AML_APP_ROOT": settings.engine_folder,
        "AML_APP_INSIGHTS_ENABLED": "false",
        "AZUREML_ENTRY_SCRIPT": _SCRIPT,
        "AZUREML_MODEL_DIR": settings.model_folder,
        "PHI_RUNNER_MODEL": settings.label,
        "PHI_RUNNER_TEMPLATE_HASH": settings.template_hash,
        "PHI_RUNNER_MAX_CONCURRENT": str(slots),
        "PHI_RUNNER_REQUEST_TIMEOUT_S": f"{settings.request_timeout_s:g}",
        "PHI_RUNNER_MAX_QUEUE_WAIT_S": f"{settings.max_queue_wait_s:g}",
        "PHI_RUNNER_MAX_NEW_TOKENS": str(settings.max_new_tokens),
        "GUNICORN_CMD_ARGS": f"--threads {slots}",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """Posts the dialogue to `/score` in the Foundry tutorial's form."""

    prompts: "Prompts"

    async def __call__(
        self, client: "httpx.AsyncClient", prompt: Prompt, *, sampling: Sampling, telling: Telling
    ) -> Finished:
        """Tell the whole text; its tokens are counted again: the contract names neither their number nor its end."""
        response = await _to_its_end(client.post("/score", json=_body(prompt, sampling)))
        if response.status_code != 200:
            raise EngineFailed(f"{_NAME} answered {response.status_code}: {models.complaint(response)}")
        text = response.json()["output"]
        said = len(self.prompts.tokenizer.encode(text, add_special_tokens=False).ids)
        telling.say(text, tokens=min(said + 1, sampling.max_new_tokens))  # with the one that ended it
        return telling.end(Finish.stop if said < sampling.max_new_tokens else Finish.length)


async def _to_its_end(asking: Any) -> "httpx.Response":
    """Wait for an answer; when nobody wants it any more wait on, for so long the server is busy with it."""
    task = asyncio.ensure_future(asking)
    try:
        found: httpx.Response = await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise
    return found


def _body(prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
    parameters: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        parameters |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.seed is not None:
        parameters["seed"] = sampling.seed
    messages = [dict(message) for message in prompt.messages]
    return {"input_data": {"input_string": messages, "parameters": parameters}}
