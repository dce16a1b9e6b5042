"""Choose the next token from scores: the likeliest one, or one drawn by a generator of the request's own."""

import numpy as np
import numpy.typing as npt

from phi_runner.model.answering import Sampling

Floats = npt.NDArray[np.float32]
_SEEDS = 2**64


class Draw:
    """One request's chance: the same seed draws the same tokens, whatever else is being answered."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._chance = np.random.default_rng(None if sampling.seed is None else sampling.seed % _SEEDS)

    def token(self, scores: Floats) -> int:
        """Return a token for scores of shape (vocabulary,)."""
        if self._sampling.temperature <= 0:
            return int(scores.argmax())
        with np.errstate(over="ignore"):  # near temperature 0 all but the best are infinitely far away
            chances = np.exp((scores - scores.max()).astype(np.float64) / self._sampling.temperature)
        order = np.arange(len(scores))
        if self._sampling.top_p < 1:
            order = np.argsort(-chances, kind="stable")
            chances = chances[order]
            before = np.cumsum(chances) - chances
            chances = np.where(before < self._sampling.top_p * chances.sum(), chances, 0.0)
            chances[0] = chances[0] or 1.0
        upto = np.cumsum(chances)
        drawn = int(np.searchsorted(upto, self._chance.random() * upto[-1], side="right"))
        return int(order[min(drawn, len(order) - 1)])
