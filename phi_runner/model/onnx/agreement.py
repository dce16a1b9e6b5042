"""How near an exported model is to the one that transformers runs, as it is kept beside the export."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "parity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near an exported model is to the one that transformers runs."""

    precision: str
    questions: int
    greedy_match: float
    """Share of the questions answered with the very same tokens."""
    same_tokens: float
    """Share of the answers' tokens that come before the first one that differs."""
    max_logit_difference: float
    limit: float
    """The largest difference that rounding explains; what is kept in 4 bits may differ by more."""
    correlation: float
    """Of the scores, over all answers; 1: the same."""
    long_texts: list[int]
    """Lengths, in tokens, of the texts that were compared as well: past a window, past a change of frequencies."""

    def write(self, folder: Path) -> None:
        """Write it beside the export."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def __str__(self) -> str:
        same = round(self.greedy_match * self.questions)
        return (
            f"{same} of {self.questions} greedy answers are the same, {self.same_tokens:.0%} of their tokens come "
            f"before the first that differs; logits differ by {self.max_logit_difference:.1e} at most, correlation "
            f"{self.correlation:.4f}"
        )


def read(folder: Path) -> Agreement:
    """Read what was written beside an export; raises OSError, ValueError or TypeError."""
    return Agreement(**json.loads((folder / FILE).read_text(encoding="utf-8")))
