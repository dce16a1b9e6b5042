"""Chat templates of the Phi families with the assistant's words marked, and which family a tokenizer speaks.

A marked template renders what the family's own does, to the byte, and puts `{% generation %}` round the assistant's
text and what ends it. It is for training only: what is saved beside the weights stays the model's own template, which
other programs read too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_MARK = "generation %}"
_SAID = "said"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that share a chat template and control tokens."""

    name: str
    stops: tuple[str, ...]
    """What ends an answer, the end of a turn first."""
    pad: str
    """What fills batches up, never the end of a turn: a model whose padding is masked would unlearn to stop."""


FAMILIES = (
    # Phi-3's own padding is the end of text; the tutorials use the unknown token, which no text of theirs becomes.
    Family(name="phi3", stops=("<|end|>", "<|endoftext|>"), pad="<unk>"),
    Family(name="phi3_5", stops=("<|end|>", "<|endoftext|>"), pad="<unk>"),
    Family(name="phi3_medium", stops=("<|end|>", "<|endoftext|>"), pad="<unk>"),
    # Its vocabulary has no unknown token and no spare one; the end of text, its own padding, ends no turn.
    Family(name="phi4_mini", stops=("<|end|>", "<|endoftext|>"), pad="<|endoftext|>"),
    # A spare token, as its authors have it since they mended the first release, where padding was the end of text.
    Family(name="phi4", stops=("<|im_end|>", "<|endoftext|>"), pad="<|dummy_85|>"),
)


def _dialogues() -> Iterator[list[dict[str, str]]]:
    """Yield dialogues of every shape that templates have been seen to treat apart."""
    system = {"role": "system", "content": "Be brief."}
    first, second = {"role": "user", "content": "One?"}, {"role": "user", "content": " Two,\n{{ two }}? "}
    answer, other = {"role": "assistant", "content": "1"}, {"role": "assistant", "content": "\n 2 ü 你好 \n"}
    yield [first]
    yield [first, answer]
    yield [system, first, answer]
    yield [{"role": "system", "content": ""}, first, answer]
    yield [system, first, answer, second, other]
    yield [first, answer, second]
    yield [first, second, answer, other]
    yield [first, {"role": "assistant", "content": ""}, system, second, other]


def marked(family: Family) -> str:
    """Return the family's template with the assistant's words marked."""
    return _text(family.name)


@cache
def _text(name: str) -> str:
    return Path(__file__).with_name(f"{name}.jinja").read_text(encoding="utf-8")


def _renderings(tokenizer: Any, template: str) -> Iterator[str]:
    for dialogue in _dialogues():
        for ask in (False, True):
            yield tokenizer.apply_chat_template(
                dialogue, chat_template=template, tokenize=False, add_generation_prompt=ask
            )


def family_of(tokenizer: Any) -> Family | None:
    """Return the family whose template renders every shape of dialogue as the tokenizer's own does, or None."""
    from jinja2 import TemplateError

    own = tokenizer.chat_template
    if not isinstance(own, str):
        return None
    try:
        expected = list(_renderings(tokenizer, own))
    except TemplateError:  # it refuses a shape that all of Phi's take
        return None
    for family in FAMILIES:
        rendered = _renderings(tokenizer, marked(family))
        if all(mine == theirs for mine, theirs in zip(rendered, expected, strict=True)):
            return family
    return None


def template_for(tokenizer: Any) -> str | None:
    """Return a template that renders as the tokenizer's own and marks the assistant's words; None: there is none."""
    own = tokenizer.chat_template
    if isinstance(own, str) and _MARK in own:
        return own
    family = family_of(tokenizer)
    return marked(family) if family else None


def end_of_turn(tokenizer: Any) -> str:
    """Return the control token that the template puts behind an answer, or nothing when it puts none there."""
    from jinja2 import TemplateError

    dialogue = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _SAID}]
    try:
        text = tokenizer.apply_chat_template(dialogue, tokenize=False)
    except TemplateError:
        return ""
    behind = text.rpartition(_SAID)[2].strip()
    control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return max((token for token in control if behind.startswith(token)), key=len, default="")


def stops(tokenizer: Any) -> tuple[str, ...]:
    """Return the control tokens that end an answer, by family and template; the tokenizer has every one of them."""
    family, vocabulary = family_of(tokenizer), tokenizer.get_vocab()
    found = [*(family.stops if family else ()), end_of_turn(tokenizer), tokenizer.eos_token]
    return tuple(dict.fromkeys(token for token in found if token and token in vocabulary))


def padding(tokenizer: Any) -> str:
    """Return the token to fill batches up with: the family's, else the tokenizer's own; never what ends a turn."""
    family, vocabulary = family_of(tokenizer), tokenizer.get_vocab()
    turn = end_of_turn(tokenizer)
    wished: list[str] = [family.pad if family else "", tokenizer.pad_token, tokenizer.unk_token, tokenizer.eos_token]
    wished += [tokenizer.bos_token, *vocabulary]
    return next(token for token in wished if token and token in vocabulary and token != turn)


def described(tokenizer: Any) -> str:
    """Say in one line how a tokenizer's dialogues are read, ended and padded."""
    family = family_of(tokenizer)
    known = f"{family.name}'s" if family else "one of its own, its answers found turn by turn"
    return f"chat template: {known}; answers end with {' or '.join(stops(tokenizer))}, padded with {padding(tokenizer)}"
