"""From a dialogue to the prompt's tokens, by the model's own chat template, the same for every engine."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from phi_runner.model.answering import Message, PromptRefused, PromptTooLong


class Prompts:
    """A folder's tokenizer and template."""

    def __init__(self, folder: Path, *, context: int) -> None:
        from transformers import AutoTokenizer

        self.context = context
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._tokenising = threading.Lock()

    @property
    def tokenizer(self) -> Any:
        """The bare `tokenizers.Tokenizer`, without Python around it."""
        return self._tokenizer.backend_tokenizer

    @property
    def markers(self) -> tuple[str, ...]:
        """Special tokens that look like `<|end|>`; `<s>` and `</s>` are left alone, people write them in HTML."""
        added = self._tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special and token.content.startswith("<|"))

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens; raises PromptTooLong or PromptRefused."""
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
