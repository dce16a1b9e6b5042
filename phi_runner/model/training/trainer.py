"""TRL's trainer with two things of ours: an order of rows that a resumed run repeats, and the fused loss."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTTrainer

from phi_runner.model.tokens import IGNORED
from phi_runner.model.training.even import EvenRows
from phi_runner.model.training.saving import AtomicSaving


class _OrderByEpoch(Sampler[int]):
    """An order of rows that follows from seed and epoch alone.

    The library's own samplers draw from the global generator, whose state at the start of an epoch is gone when
    training resumes in the middle of it: some rows would then be seen twice and others not at all.
    """

    def __init__(self, rows: int, *, seed: int) -> None:
        self._rows, self._seed, self._epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; called by accelerate."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self._rows, generator=self._chance()).tolist()

    def _chance(self) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)


class _LikeLengths(_OrderByEpoch):
    """The same, rows of like length together: where rows are padded, that was two thirds of the work."""

    def __init__(self, lengths: list[int], *, together: int, seed: int) -> None:
        super().__init__(len(lengths), seed=seed)
        self._lengths, self._together = lengths, together

    def __iter__(self) -> Iterator[int]:
        yield from get_length_grouped_indices(self._lengths, self._together, generator=self._chance())


class PhiTrainer(AtomicSaving, EvenRows, SFTTrainer):  # type: ignore[misc]  # TRL is not typed
    """Trains as TRL does."""

    lengths: Sequence[int] = ()
    """Tokens of each training row, where they are known."""
    sums_loss = False
    """True when the model was taught `summed_loss` (see loss.py)."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows, args = self.train_dataset if train_dataset is None else train_dataset, self.args
        match args.train_sampling_strategy:
            case "random":
                return _OrderByEpoch(len(rows), seed=args.seed)
            case "group_by_length":
                step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
                lengths = self.lengths or [len(ids) for ids in rows["input_ids"]]
                return _LikeLengths(list(lengths), together=step, seed=args.seed)
        return super()._get_train_sampler(train_dataset)

    @property
    def core(self) -> Any:
        """The causal language model itself, below adapters."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the batch's cross entropy: its sum over labelled tokens by the number of them in the whole step."""
        if return_outputs or not self.sums_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        total = model(**inputs, summed_loss=True).loss
        self._count(inputs)
        if num_items_in_batch is None:
            return total / (inputs["labels"][:, 1:] != IGNORED).sum().clamp(min=1)
        mean = total / num_items_in_batch
        # the count is that of all processes, and their gradients are averaged
        return mean * self.accelerator.num_processes if self.args.average_tokens_across_devices else mean

    def _count(self, inputs: dict[str, Any]) -> None:
        """Count the tokens that were learnt from, as TRL logs them."""
        if not self.model.training:
            return
        mask = inputs.get("attention_mask")
        tokens = mask.sum() if mask is not None else torch.tensor(inputs["input_ids"].numel())
        self._total_train_tokens += int(self.accelerator.gather_for_metrics(tokens.to(self.args.device)).sum())
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
