"""A tokenizer with its chat template, without transformers, whose import takes longer than the whole check."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from phi_runner.data.rows import Message


class ChatTokenizer:
    """As much of transformers' tokenizer as `model.tokens` needs to encode dialogues; gives the same tokens.

    Only its own template can be rendered: the answers are then found by comparing texts, turn by turn, which the first
    batch alone needs.
    """

    def __init__(self, core: Any, *, template: str, special_tokens: dict[str, str]) -> None:
        self.backend_tokenizer = core
        self.chat_template = template
        self.special_tokens_map = special_tokens

    @cached_property
    def _render(self) -> Callable[..., str]:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # as transformers.utils.chat_template_utils compiles templates
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False
        )
        return environment.from_string(self.chat_template).render

    def apply_chat_template(
        self, conversation: Sequence[Any], *, tokenize: bool = False, add_generation_prompt: bool = False,
        chat_template: str | None = None,
    ) -> Any:  # fmt: skip
        """Return the text of a dialogue, or of each of several; raises TemplateError for another template."""
        from jinja2 import TemplateError

        if tokenize or chat_template is not None:
            raise TemplateError("only the tokenizer's own template is known here, and it gives text")
        if conversation and isinstance(conversation[0], list):
            return [self._text(dialogue, ask=add_generation_prompt) for dialogue in conversation]
        return self._text(conversation, ask=add_generation_prompt)

    def _text(self, dialogue: Sequence[Message], *, ask: bool) -> str:
        return self._render(messages=list(dialogue), add_generation_prompt=ask, **self.special_tokens_map)
