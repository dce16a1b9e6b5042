"""Loss of a model on each row and its greedy answers, in padded batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from phi_runner.errors import TrainFailed
from phi_runner.model.device import Device, out_of_memory
from phi_runner.model.tokens import IGNORED, Dialogue, TokenRows

_MOST_TOKENS = 8192
"""Tokens of a batch: the logits of more would take gigabytes at a vocabulary of 32,000."""


def _batches(lengths: Sequence[int], *, size: int) -> Iterator[list[int]]:
    """Yield positions of rows, long ones first: a batch pads little, and holds fewer rows where they are long."""
    left = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    while left:
        count = min(size, max(1, _MOST_TOKENS // max(1, lengths[left[0]])))
        yield left[:count]
        left = left[count:]


def _pad(rows: list[list[int]], value: int, *, left: bool) -> Any:
    import torch

    longest = max(len(row) for row in rows)
    padded = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(padded)


@contextmanager
def _room(batch_size: int) -> Iterator[None]:
    """Word a lack of memory: raises TrainFailed naming the setting that needs less."""
    try:
        yield
    except (RuntimeError, MemoryError) as err:
        if not out_of_memory(err):
            raise
        raise TrainFailed(f"out of memory with evaluate.batch_size={batch_size}: type a smaller one") from err


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Cross entropy by row: the sum over its labelled tokens, in nats, and how many they are."""

    sums: list[float]
    tokens: list[int]

    @property
    def mean(self) -> float:
        """Nats per labelled token of all rows."""
        return sum(self.sums) / sum(self.tokens)


def losses(model: Any, rows: TokenRows, *, pad: int, batch_size: int, device: Device) -> Losses:
    """Return the loss of each row, in the rows' order; a row has at least one labelled token."""
    import torch

    model.to(device.name).eval()
    sums, tokens = [0.0] * len(rows.lengths), [0] * len(rows.lengths)
    with torch.inference_mode():
        for batch in _batches(rows.lengths.tolist(), size=batch_size):
            read = rows.dataset[batch]
            ids = _pad(read["input_ids"], pad, left=False).to(device.name)
            mask = _pad([[1] * len(row) for row in read["input_ids"]], 0, left=False).to(device.name)
            labels = _pad(read["labels"], IGNORED, left=False).to(device.name)[:, 1:]
            with _room(batch_size):
                found = _row_sums(model, ids, mask=mask, labels=labels, device=device)
            for place, value, count in zip(batch, found, (labels != IGNORED).sum(dim=1).tolist(), strict=True):
                sums[place], tokens[place] = value, count
    return Losses(sums=sums, tokens=tokens)


def _row_sums(model: Any, ids: Any, *, mask: Any, labels: Any, device: Device) -> list[float]:
    import torch
    from torch.nn.functional import cross_entropy

    wanted = labels != IGNORED
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=device.bf16):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][wanted]
    each = cross_entropy(logits.float(), labels[wanted], reduction="none")
    sums: list[float] = torch.zeros(wanted.shape, device=ids.device).masked_scatter(wanted, each).sum(dim=1).tolist()
    return sums


def answers(
    model: Any, tokenizer: Any, dialogues: Sequence[Dialogue], *, max_new_tokens: int, batch_size: int, device: Device,
    told: Callable[[int], None] = lambda _done: None,
) -> list[str]:  # fmt: skip
    """Return the greedy answer to each dialogue, which must end with the user's turn; in the order given."""
    import torch

    model.to(device.name).eval()
    texts = [tokenizer.apply_chat_template(list(d), tokenize=False, add_generation_prompt=True) for d in dialogues]
    prompts = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    found = [""] * len(prompts)
    done = 0
    with torch.inference_mode():
        for batch in _batches([len(prompt) for prompt in prompts], size=batch_size):
            ids = _pad([prompts[i] for i in batch], tokenizer.pad_token_id, left=True).to(device.name)
            mask = _pad([[1] * len(prompts[i]) for i in batch], 0, left=True).to(device.name)
            with _room(batch_size):
                out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False)
            for position, row in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
                found[position] = tokenizer.decode(row, skip_special_tokens=True).strip()
            done += len(batch)
            told(done)
    return found
