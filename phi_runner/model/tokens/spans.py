"""Where in a rendered dialogue the assistant speaks: from the template's generation markers, or by comparing texts."""

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from phi_runner.errors import TrainFailed
from phi_runner.model import templates
from phi_runner.model.tokens.dialogues import Dialogue

Spans: TypeAlias = list[tuple[int, int]]
"""Pieces of a text, in characters, in order."""

_RENDERING = threading.Lock()
"""transformers notes the markers of one rendering at a time, in the compiled template that all threads share."""


def render(tokenizer: Any, dialogues: Sequence[Dialogue]) -> list[str]:
    """Return each dialogue as the text that the model reads."""
    with _RENDERING:
        texts: list[str] = tokenizer.apply_chat_template([list(dialogue) for dialogue in dialogues], tokenize=False)
    return texts


def answers(tokenizer: Any, dialogues: Sequence[Dialogue], texts: Sequence[str]) -> list[Spans]:
    """Return where in each text the assistant's words and their end lie; the end of the text belongs to the last turn.

    Raises TrainFailed for a template without markers that rewrites earlier turns.
    """
    template = _marked(tokenizer, own=tokenizer.chat_template)
    if template is not None:
        found, spans = _rendered_with_marks(tokenizer, dialogues, template=template)
        if found == list(texts):
            return spans
    return [_compared(tokenizer, dialogue, text) for dialogue, text in zip(dialogues, texts, strict=True)]


@lru_cache(maxsize=8)
def _marked(tokenizer: Any, *, own: str) -> str | None:
    """Return the template with generation markers that goes with the tokenizer's own."""
    with _RENDERING:
        return templates.template_for(tokenizer)


def _rendered_with_marks(
    tokenizer: Any, dialogues: Sequence[Dialogue], *, template: str
) -> tuple[list[str], list[Spans]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    with _RENDERING:
        texts, spans = render_jinja_template(
            [list(dialogue) for dialogue in dialogues], chat_template=template, return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )  # fmt: skip
    return list(texts), [[(start, end) for start, end in found if start < end] for found in spans]


def _compared(tokenizer: Any, dialogue: Dialogue, text: str) -> Spans:
    """Find the answers by rendering the dialogue up to each of them, which works for a template that only appends.

    A turn begins where the text up to it, rendered as a question, ends. It ends where the text up to and with it stops
    agreeing with the whole.
    """
    spans = []
    for position, message in enumerate(dialogue):
        if message["role"] != "assistant":
            continue
        with _RENDERING:
            before = tokenizer.apply_chat_template(
                list(dialogue[:position]), tokenize=False, add_generation_prompt=True
            )
        if not text.startswith(before):
            raise TrainFailed(
                "this model's chat template rewrites earlier turns, so the assistant's words cannot be told apart; "
                "type train.assistant_only_loss=false"
            )
        last = position == len(dialogue) - 1
        [after] = [text] if last else render(tokenizer, [dialogue[: position + 1]])
        spans.append((len(before), _common(after, text)))
    return spans


def _common(first: str, second: str) -> int:
    """Return how many leading characters two texts share."""
    if second.startswith(first):
        return len(first)
    pairs = enumerate(zip(first, second, strict=False))
    return next((position for position, (a, b) in pairs if a != b), min(len(first), len(second)))
