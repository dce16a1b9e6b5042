"""Choose the next token: the likeliest one, or one drawn by a generator of the request's own."""

import torch

from phi_runner.model.answering import Sampling


class Draw:
    """One request's chance: the same seed draws the same tokens, whatever else is being answered."""

    def __init__(self, sampling: Sampling, *, device: torch.device) -> None:
        self._sampling = sampling
        self._chance = torch.Generator(device)
        if sampling.seed is None:
            self._chance.seed()
        else:
            self._chance.manual_seed(sampling.seed)

    def token(self, scores: torch.Tensor) -> int:
        """Return the token drawn from the scores of one position, shape (vocabulary,)."""
        chances = torch.softmax((scores.float() - scores.max()) / self._sampling.temperature, dim=-1)
        if self._sampling.top_p >= 1:
            return int(torch.multinomial(chances, 1, generator=self._chance))
        ordered, order = chances.sort(descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= self._sampling.top_p, 0.0)
        return int(order[torch.multinomial(ordered, 1, generator=self._chance)])
