"""Preference pairs of the data stage: read, turned into token rows, and which answer a model finds likelier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from phi_runner.artifacts import Dataset
from phi_runner.errors import TrainFailed
from phi_runner.events import StageEvents
from phi_runner.model.device import Device, out_of_memory

FORMAT = "preference"
"""The format of a data set whose rows are pairs (RowFormat.preference, as a Dataset stores it)."""
_LEAST_ANSWER = 8
"""An answer cut to fewer tokens than this compares nothing."""
_MOST_TOKENS = 8192
_ENCODED_ROWS = 1000


class Pair(TypedDict):
    """A prompt, and two answers to it, the first one preferred; lists of messages."""

    prompt: list[dict[str, str]]
    chosen: list[dict[str, str]]
    rejected: list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPairs:
    """Token ids of prompts and of the two answers to each, end marker included, and what the length limit did."""

    prompt_ids: list[list[int]]
    chosen_ids: list[list[int]]
    rejected_ids: list[list[int]]
    shortened: int
    """Pairs of which an answer lost its end."""
    dropped: int
    """Pairs whose prompt leaves no room for an answer, or whose answers are the same as far as they fit."""

    def lengths(self) -> list[int]:
        """Return the tokens of the longer side of each pair."""
        pairs = zip(self.prompt_ids, self.chosen_ids, self.rejected_ids, strict=True)
        return [len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in pairs]

    def dialogues(self) -> list[list[int]]:
        """Return each prompt with its chosen answer, as one row of tokens."""
        return [prompt + chosen for prompt, chosen in zip(self.prompt_ids, self.chosen_ids, strict=True)]


def read(file: Path) -> list[Pair]:
    """Return the pairs of an Arrow stream, in the file's order."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        rows: list[Pair] = stream.read_all().select(["prompt", "chosen", "rejected"]).to_pylist()
    return rows


def prepared(
    dataset: Dataset, tokenizer: Any, *, max_length: int, events: StageEvents
) -> tuple[TokenPairs, TokenPairs]:  # fmt: skip
    """Return the token rows of a data set's pairs, those to learn from and those held out; tells what did not fit."""
    found = []
    for name, file in (("train", dataset.train_file), ("test", dataset.test_file)):
        rows = tokenise(tokenizer, read(file), max_length=max_length)
        if rows.shortened or rows.dropped:
            events.warn(
                f"{name}: {rows.shortened} pairs are longer than train.max_length={max_length}, their answers were "
                f"cut; {rows.dropped} were dropped because nothing is left to compare",
                shortened=rows.shortened, dropped=rows.dropped,
            )  # fmt: skip
        if not rows.prompt_ids:
            raise TrainFailed(f"no {name} pair fits into train.max_length={max_length}: type a larger one")
        found.append(rows)
    train, test = found
    events.info(f"{len(train.prompt_ids)} pairs to learn from, {len(test.prompt_ids)} held out")
    return train, test


def tokenise(tokenizer: Any, pairs: Sequence[Pair], *, max_length: int) -> TokenPairs:
    """Return token rows of which prompt and answer together have at most `max_length` tokens.

    An answer begins where the prompt, rendered as a question, ends: what a server sends is what was compared.
    """
    found = TokenPairs(prompt_ids=[], chosen_ids=[], rejected_ids=[], shortened=0, dropped=0)
    shortened = dropped = 0
    for start in range(0, len(pairs), _ENCODED_ROWS):
        for prompt, chosen, rejected in _encoded(tokenizer, pairs[start : start + _ENCODED_ROWS]):
            room = max_length - len(prompt)
            cut = max(len(chosen), len(rejected)) > room
            if cut and (room < _LEAST_ANSWER or chosen[:room] == rejected[:room]):
                dropped += 1
                continue
            shortened += cut
            found.prompt_ids.append(prompt)
            found.chosen_ids.append(chosen[:room])
            found.rejected_ids.append(rejected[:room])
    return TokenPairs(
        prompt_ids=found.prompt_ids, chosen_ids=found.chosen_ids, rejected_ids=found.rejected_ids,
        shortened=shortened, dropped=dropped,
    )  # fmt: skip


def _encoded(tokenizer: Any, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int], list[int]]]:
    """Return prompt and answers of each pair in tokens; text and ids are those of whole dialogues, cut apart after."""
    asked = _ids(tokenizer, [pair["prompt"] for pair in pairs], ask=True)
    chosen = _ids(tokenizer, [pair["prompt"] + pair["chosen"] for pair in pairs])
    rejected = _ids(tokenizer, [pair["prompt"] + pair["rejected"] for pair in pairs])
    rows = []
    for prompt, first, second in zip(asked, chosen, rejected, strict=True):
        shared = min(_common(prompt, first), _common(prompt, second))
        if shared < len(prompt):
            raise TrainFailed(
                "this model's chat template does not begin an answered dialogue as it begins the question, so the "
                "answers cannot be told apart: preference training needs a template that only appends"
            )
        rows.append((prompt, first[shared:], second[shared:]))
    return rows


def _ids(tokenizer: Any, dialogues: Sequence[list[dict[str, str]]], *, ask: bool = False) -> list[list[int]]:
    texts = [tokenizer.apply_chat_template(d, tokenize=False, add_generation_prompt=ask) for d in dialogues]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return ids


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading tokens two rows share."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((position for position, (a, b) in pairs if a != b), min(len(first), len(second)))


def preferred(model: Any, pairs: TokenPairs, *, pad: int, batch_size: int, device: Device) -> list[bool]:
    """Return of which pairs the model finds the chosen answer, as a whole, likelier than the other."""
    prompts = pairs.prompt_ids * 2
    answers = pairs.chosen_ids + pairs.rejected_ids
    likely = _log_likelihoods(model, prompts, answers, pad=pad, batch_size=batch_size, device=device)
    half = len(pairs.prompt_ids)
    return [chosen > rejected for chosen, rejected in zip(likely[:half], likely[half:], strict=True)]


def _log_likelihoods(
    model: Any, prompts: list[list[int]], answers: list[list[int]], *, pad: int, batch_size: int, device: Device
) -> list[float]:
    """Return the log-probability of each answer after its prompt, summed over its tokens, in nats."""
    import torch

    model.to(device.name).eval()
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    left = sorted(range(len(rows)), key=lambda position: -len(rows[position]))
    found = [0.0] * len(rows)
    with torch.inference_mode():
        while left:
            count = min(batch_size, max(1, _MOST_TOKENS // len(rows[left[0]])))
            batch, left = left[:count], left[count:]
            longest = len(rows[batch[0]])
            ids = torch.tensor([rows[i] + [pad] * (longest - len(rows[i])) for i in batch]).to(device.name)
            spans = [(len(prompts[i]), len(rows[i])) for i in batch]
            told = torch.tensor([[start <= n < end for n in range(longest)] for start, end in spans]).to(device.name)
            mask = torch.tensor([[n < end for n in range(longest)] for _start, end in spans]).long().to(device.name)
            for position, value in zip(batch, _sums(model, ids, mask=mask, told=told, device=device), strict=True):
                found[position] = value
    return found


def _sums(model: Any, ids: Any, *, mask: Any, told: Any, device: Device) -> list[float]:
    import torch

    wanted = told[:, 1:]
    try:
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=device.bf16):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][wanted]
    except (RuntimeError, MemoryError) as err:
        if not out_of_memory(err):
            raise
        raise TrainFailed(f"out of memory with evaluate.batch_size={len(ids)}: type a smaller one") from err
    chances = torch.log_softmax(logits.float(), dim=-1).gather(1, ids[:, 1:][wanted][:, None])[:, 0]
    sums = torch.zeros(wanted.shape, device=ids.device).masked_scatter(wanted, chances).sum(dim=1)
    values: list[float] = sums.tolist()
    return values
