"""The vLLM engine: a vLLM server of its own gets the tokens of our prompts, so that the one chat template is ours.

Written against the OpenAI routes of vLLM 0.33.0 (vllm/entrypoints/openai/completion/protocol.py).
"""

import itertools
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.errors import DeployFailed
from phi_runner.model.answering import Engine, EngineFailed, Finish, Finished, Prompt, Sampling
from phi_runner.model.engines.speech import Speech
from phi_runner.serve.upstream import models, presence, sse
from phi_runner.serve.upstream.engine import UpstreamEngine
from phi_runner.serve.upstream.exchange import Telling
from phi_runner.serve.upstream.server import UpstreamServer

if TYPE_CHECKING:
    import httpx

    from phi_runner.serve.settings import Settings

_NAME = "vLLM"
_MODEL = "model"
"""Name of the only model that the server has."""
_SLOTS = 256
"""vLLM's own default for --max-num-seqs on most devices."""
_SEED_OF_NONE, _ITS_STAND_IN = -1, 2**62
"""vLLM takes this seed for none at all."""
_WITHOUT_USAGE_REPORT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def open_vllm(settings: "Settings", *, on_death: Callable[[BaseException], None]) -> Engine:
    """Start vLLM on the settings' model and wait until it answers; raises DeployFailed."""
    if reason := presence.vllm(settings.engine_python):
        raise DeployFailed(reason)
    program = [settings.engine_python or sys.executable, "-m", "vllm.entrypoints.cli.main"]
    return serve(program, settings=settings, on_death=on_death)


def serve(program: Sequence[str], *, settings: "Settings", on_death: Callable[[BaseException], None]) -> Engine:
    """Start `program serve MODEL ...`, which may be anything that takes vLLM's words and speaks as it does."""
    folder, options = Path(settings.model_folder), settings.engine_options

    def command(socket: Path) -> list[str]:
        return [
            *program, "serve", str(folder), f"--uds={socket}", f"--served-model-name={_MODEL}",
            "--max-model-len=auto", f"--max-num-seqs={_SLOTS}", "--generation-config=vllm", *options,
        ]  # fmt: skip

    server = UpstreamServer(_NAME, command, environment=_WITHOUT_USAGE_REPORT)
    try:
        server.wait_until_healthy("/health")
        prompts = models.prompts(folder, most=_length(server))
        ask = _Asking(tokenizer=prompts.tokenizer, stops=tuple(models.stops(folder)))
        return UpstreamEngine(prompts, server=server, ask=ask, slots=_slots(options), on_death=on_death)
    except BaseException:
        server.close()
        raise


def _slots(options: Sequence[str]) -> int:
    """Return --max-num-seqs as the user has it; the last one counts, as for vLLM."""
    words = [word for option in options for word in option.partition("=")[::2] if word]
    given = [value for name, value in itertools.pairwise(words) if name.replace("_", "-") == "--max-num-seqs"]
    return int(given[-1]) if given and given[-1].isdigit() else _SLOTS


def _length(server: UpstreamServer) -> int:
    """Return the context that the server has memory for."""
    listed = server.get("/v1/models").json()
    length = listed["data"][0].get("max_model_len")
    if not isinstance(length, int):
        raise DeployFailed("vLLM does not say its max_model_len: this is another version than 0.33, which does")
    return length


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """Asks `/v1/completions` for a stream."""

    tokenizer: Any
    stops: tuple[int, ...]

    async def __call__(
        self, client: "httpx.AsyncClient", prompt: Prompt, *, sampling: Sampling, telling: Telling
    ) -> Finished:
        """Tell the text as it comes."""
        body = self._body(prompt, sampling)
        async with client.stream("POST", "/v1/completions", json=body) as response:
            if response.status_code != 200:
                await response.aread()
                raise EngineFailed(f"vLLM answered {response.status_code}: {models.complaint(response)}")
            words = Speech(self.tokenizer)  # the text of the tokens is made here, the same for every engine
            said = sse.events(response)
            return await _heard(said, prompt=prompt, words=words, stops=self.stops, telling=telling)

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        seed = _ITS_STAND_IN if sampling.seed == _SEED_OF_NONE else sampling.seed
        return {
            "model": _MODEL, "prompt": prompt.tokens, "add_special_tokens": False,
            "max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature,
            "top_p": sampling.top_p, "top_k": 0, "seed": seed,
            # the model's own stops alone, as `generate` has them; vLLM would add the tokenizer's end of text
            "stop_token_ids": list(self.stops), "ignore_eos": True, "stream": True, "return_token_ids": True,
        }  # fmt: skip


async def _heard(
    events: AsyncIterator[dict[str, Any]], *, prompt: Prompt, words: Speech, stops: Sequence[int], telling: Telling
) -> Finished:
    """Tell what is said; raises EngineFailed when the server failed, or has read another prompt than ours."""
    reason = ""
    async for event in events:
        if "error" in event:
            raise EngineFailed(f"vLLM failed: {event['error'].get('message', 'without a word')}")
        for choice in event["choices"]:
            if choice.get("prompt_token_ids") not in (None, prompt.tokens):
                raise EngineFailed("vLLM read another prompt than was sent: the tokens differ")
            said = [words.say(token) for token in choice["token_ids"] if token not in stops]
            telling.say("".join(said), tokens=len(choice["token_ids"]))
            reason = choice["finish_reason"] or reason
    if reason not in (Finish.stop, Finish.length):
        raise EngineFailed(f"vLLM ended its answer with {reason or 'no reason'}")
    telling.say(words.rest())
    return telling.end(Finish(reason))
