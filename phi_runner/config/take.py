"""How much of a source to use, read from what the user types: a count (`10`) or a share (`1%`)."""

import re
from dataclasses import dataclass
from fractions import Fraction

from phi_runner.errors import ConfigProblem

_COUNT = re.compile(r"[0-9]{1,12}")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)%")


@dataclass(frozen=True, slots=True)
class Take:
    """A number of rows from the top of a source: `amount` of them, or that share of all where `is_share`."""

    amount: Fraction
    is_share: bool

    def rows(self, total: int) -> int:
        """Return how many of `total` rows that is, never more; a share is rounded, and at least one of any rows."""
        if not self.is_share:
            return min(int(self.amount), total)
        return min(max(int(self.amount * total + Fraction(1, 2)), 1), total)


def parse_take(text: str) -> Take:
    """Read a count or a share; raises ConfigProblem for anything that is neither or leaves nothing."""
    typed = text.strip()
    if _COUNT.fullmatch(typed) and int(typed) > 0:
        return Take(Fraction(int(typed)), is_share=False)
    share = _SHARE.fullmatch(typed)
    if share and 0 < Fraction(share[1]) <= 100:
        return Take(Fraction(share[1]) / 100, is_share=True)
    raise ConfigProblem(
        f"data.take={text!r} is not a number of rows: type a count above 0 (10) or a share up to 100% (1%)"
    )
