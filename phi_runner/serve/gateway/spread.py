"""Divide requests by weight, evenly: of ten requests at 10 % the new deployment gets one, never three by bad luck."""

from collections.abc import Mapping


class Spread:
    """Smooth weighted round-robin, as nginx does it: each turn all gain their weight, and who has most pays the sum."""

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def pick(self, weights: Mapping[str, int]) -> str:
        """Return the name whose turn it is; `weights` are positive, and whoever is not among them starts at nothing."""
        self._credit = {name: self._credit.get(name, 0) + weight for name, weight in weights.items()}
        name = max(self._credit, key=lambda item: self._credit[item])
        self._credit[name] -= sum(weights.values())
        return name
