"""Texts that end an answer: they are cut off, even when they arrive in pieces."""

from collections.abc import Sequence


class StopTexts:
    """Watches an answer as it is said; what might be the beginning of a stop text is held back."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = tuple(texts)
        self._held = ""
        self.hit = False
        """True once a stop text was said."""

    def feed(self, piece: str) -> str:
        """Return what of the answer so far may be shown."""
        self._held += piece
        found = [place for place in (self._held.find(text) for text in self._texts) if place >= 0]
        if found:
            self.hit = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = max((self._overlap(text) for text in self._texts), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def rest(self) -> str:
        """Return what was held back, when the answer has ended without a stop text."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, text: str) -> int:
        """Return how many of the last characters are the first ones of a stop text."""
        longest = min(len(text) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if text.startswith(self._held[-size:])), 0)
