"""TRL's trainer with two things of ours: an order of rows that a resumed run repeats, and a lean loss on processors."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTTrainer

from phi_runner.model.tokens import IGNORED


class _OrderByEpoch(LengthGroupedSampler):  # type: ignore[misc]  # transformers is not typed
    """Groups rows of like length, in an order that follows from seed and epoch alone.

    The library's own sampler draws from the global generator, whose state at the start of an epoch is gone when
    training resumes in the middle of it: some rows would then be seen twice and others not at all.
    """

    def __init__(self, lengths: list[int], *, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; called by accelerate."""
        self._epoch = epoch

    def __iter__(self) -> Any:
        self.generator.manual_seed(self._seed * 1_000_003 + self._epoch)
        return super().__iter__()


class PhiTrainer(SFTTrainer):  # type: ignore[misc]  # TRL is not typed
    """Trains as TRL does."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        lengths = [len(ids) for ids in rows["input_ids"]]
        return _OrderByEpoch(lengths, batch_size=size, seed=self.args.seed)

    def _lean(self, core: Any) -> bool:
        """Say whether the short way to the loss is the same loss: plain cross entropy over a plain Phi-3 head.

        Of several processes none takes it: gradients meet only when the model is called through its wrapper.
        """
        plain = self.args.loss_type == "nll" and not self.args.label_smoothing_factor
        alone = self.args.use_cpu and self.args.world_size == 1
        return bool(alone and plain and core.config.model_type == "phi3")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the batch's cross entropy: its sum over labelled tokens by the number of them in the whole step.

        Without Triton, TRL's fused head runs as plain torch operations over every position, labelled or not: 70 % of a
        small model's step on a CPU (measured). There, only labelled positions meet the head; the loss is the same.
        """
        core = self.accelerator.unwrap_model(model)
        core = core.get_base_model() if hasattr(core, "get_base_model") else core
        if return_outputs or not self._lean(core):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        values = {name: value for name, value in inputs.items() if name != "labels"}
        wanted = inputs["labels"][:, 1:] != IGNORED
        with self.accelerator.autocast():  # accelerate wraps model.forward alone, and this call goes past it
            hidden = core.model(**values | {"use_cache": False}).last_hidden_state[:, :-1]
            logits = core.lm_head(hidden[wanted])
        total = cross_entropy(logits.float(), inputs["labels"][:, 1:][wanted], reduction="sum")
        return total / (num_items_in_batch if num_items_in_batch is not None else wanted.sum().clamp(min=1))
