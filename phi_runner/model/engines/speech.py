"""Tokens become text as they come; half a character is held back until it is whole.

`tokenizers.DecodeStream` does the same and raises on bytes that are no text, which an untrained model says.
"""

import re
import time
from typing import Any

_HALF = "\ufffd"
"""What a tokenizer makes of bytes that are no whole character."""


PAUSE_S = 0.04
"""Text is handed on 25 times a second, the first piece at once: sixteen readers of single tokens would cost two cores
a quarter of their tokens, and nobody reads faster."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def unsettled(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that are one byte each, a run of which is decoded as a whole, and those that are no text."""
    silent = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    return frozenset(silent | {token for text, token in tokenizer.get_vocab().items() if _BYTE.fullmatch(text)})


class Speech:
    """One answer's tokens and the text that has been said of them."""

    def __init__(self, tokenizer: Any, *, held: frozenset[int] = frozenset(), pause_s: float = 0.0) -> None:
        """`held`: tokens that no text ends with; `pause_s`: how long to gather text after some has been said."""
        self.tokens: list[int] = []
        self._pause_s = pause_s
        self._silent_until = 0.0
        self._tokenizer = tokenizer
        self._held = held
        self._from = self._to = 0
        self._before = ""

    def say(self, token: int) -> str:
        """Take the next token and return the text that is whole with it, which may be none."""
        self.tokens.append(token)
        if token in self._held or (now := time.monotonic()) < self._silent_until:
            return ""
        if text := self._more(last=False):
            self._silent_until = now + self._pause_s
        return text

    def rest(self) -> str:
        """Return what was held back, when no more tokens come."""
        return self._more(last=True)

    def _more(self, *, last: bool) -> str:
        # A piece is what a token adds to the text of the few before it: alone, it would lose its leading space.
        text = self._decode(self._from)
        if len(text) <= len(self._before) or (text.endswith(_HALF) and not last):
            return ""
        said = text[len(self._before) :]
        self._from, self._to = self._to, len(self.tokens)
        self._before = self._decode(self._from)
        return said

    def _decode(self, start: int) -> str:
        return str(self._tokenizer.decode(self.tokens[start:], skip_special_tokens=True))
