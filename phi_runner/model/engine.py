"""The transformers engine: one loaded Hugging Face folder that answers prompts token by token."""

import copy
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from phi_runner.model.answering import Finish, Finished, Message, PromptRefused, PromptTooLong, Sampling


class TransformersEngine:
    """A model in memory; `generate` does the work, so greedy answers are what transformers itself would say."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        transformers_logging.disable_progress_bar()
        precision = torch.float32 if device == "cpu" else "auto"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=precision, local_files_only=True)
        self._model: Any = model.to(device).eval()
        self._config = _plain(self._model.generation_config)
        self._tokenising = threading.Lock()
        _take_turns(self._model)

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return int(self._model.config.max_position_embeddings)

    @property
    def markers(self) -> tuple[str, ...]:
        """Special tokens that look like `<|end|>`; `<s>` and `</s>` are left alone, people write them in HTML."""
        added = self._tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special and token.content.startswith("<|"))

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens by the folder's chat template; raises PromptTooLong or PromptRefused."""
        dialogue = [dict(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
        except TemplateError as err:
            raise PromptRefused(f"the model's chat template refuses this dialogue: {err}") from err
        with self._tokenising:  # the tokenizer's settings are not safe to touch from two threads
            prompt: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        limit = self.context - max_new_tokens
        if len(prompt) > limit:
            raise PromptTooLong(prompt_tokens=len(prompt), limit=limit, context=self.context)
        return prompt

    def answer(
        self, prompt: Sequence[int], *, sampling: Sampling, on_text: Callable[[str], None], stop: threading.Event
    ) -> Finished:
        """Answer a prompt, handing over each piece of text as it is said; `stop` is looked at after every token."""
        speaker = _Speaker(self._tokenizer, on_text)
        ids = torch.tensor([list(prompt)], device=self._model.device)
        choose = [_Draw(sampling, device=ids.device)] if sampling.temperature > 0 else []
        config = copy.copy(self._config)
        config.max_new_tokens = sampling.max_new_tokens
        with torch.inference_mode():
            self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=choose,
                stopping_criteria=[_Asked(stop)], streamer=speaker,
            )  # fmt: skip
        return Finished(
            reason=self._reason(speaker.tokens, sampling), prompt_tokens=len(prompt),
            completion_tokens=len(speaker.tokens),
        )  # fmt: skip

    def _reason(self, said: list[int], sampling: Sampling) -> Finish:
        ends = self._config.eos_token_id
        if said and said[-1] in (ends if isinstance(ends, list) else [ends]):
            return Finish.stop
        return Finish.length if len(said) >= sampling.max_new_tokens else Finish.cancelled


def _plain(config: Any) -> Any:
    """Return the folder's generation config without sampling: `_Draw` samples, with a seed of each request's own."""
    plain = copy.deepcopy(config)
    plain.do_sample, plain.num_beams = False, 1
    plain.temperature = plain.top_p = plain.top_k = None
    plain.max_length = None
    return plain


def _take_turns(model: Any) -> None:
    """Let one thread at a time through the model.

    Two threads in it would share its cores (measured on two cores, three callers: 145 tokens/s free, 175 in turns), and
    a model with long rope (Phi-3.5) swaps its frequencies in place by the length of the text that passes.
    """
    turn = threading.Lock()

    def begin(_model: Any, _arguments: Any) -> None:
        turn.acquire()

    def end(_model: Any, _arguments: Any, _output: Any) -> None:
        turn.release()

    model.register_forward_pre_hook(begin)
    model.register_forward_hook(end, always_call=True)


class _Asked:
    """Stop generating when asked to (a transformers stopping criterion)."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, ids: torch.Tensor, _scores: object, **_options: object) -> torch.Tensor:
        return torch.full((ids.shape[0],), self._stop.is_set(), device=ids.device, dtype=torch.bool)


class _Draw:
    """Draw the next token with a generator of this request's own and leave it as the only choice.

    `generate` samples from torch's global generator, which concurrent requests would share: a seed would mean nothing.
    """

    def __init__(self, sampling: Sampling, *, device: torch.device) -> None:
        self._sampling = sampling
        self._chance = torch.Generator(device)
        if sampling.seed is None:
            self._chance.seed()
        else:
            self._chance.manual_seed(sampling.seed)

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best = scores.max(dim=-1, keepdim=True).values
        chances = torch.softmax((scores - best) / self._sampling.temperature, dim=-1)
        ordered, order = chances.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= self._sampling.top_p, 0.0)
        drawn = order.gather(-1, torch.multinomial(ordered, 1, generator=self._chance))
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn, 0.0)


class _Speaker:
    """Turn tokens into text as they come (a transformers streamer); half a character is held back until it is whole."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._on_text = on_text
        self._prompt_seen = False
        self._from = self._to = 0
        self.tokens: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt first, then one token at a time."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.tokens.extend(value.reshape(-1).tolist())
        self._say()

    def end(self) -> None:
        """Say what was held back."""
        self._say(last=True)

    def _say(self, *, last: bool = False) -> None:
        # A piece is what a token adds to the text of the few before it: alone, it would lose its leading space.
        said = self._decode(self.tokens[self._from : self._to])
        text = self._decode(self.tokens[self._from :])
        if len(text) <= len(said) or (text.endswith("\ufffd") and not last):
            return
        self._from, self._to = self._to, len(self.tokens)
        self._on_text(text[len(said) :])

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
