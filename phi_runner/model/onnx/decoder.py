"""One exported model in onnxruntime: takes tokens, gives the scores of the next one.

`onnxruntime_genai` has a decoder too. Its Python binding keeps the interpreter's lock while it computes (measured: 800
tokens of prompt, no other thread ran for 2.7 s; here the longest pause was 17 ms), and its batches on a processor are
static. A server would neither stream to others nor answer its health probe meanwhile, so the file is run directly.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import psutil
from onnxruntime.capi import onnxruntime_pybind11_state as states

from phi_runner.errors import DeployFailed
from phi_runner.model.onnx import facts
from phi_runner.model.onnx.memory import Floats, Memory, Row, Shelf

BROKEN: tuple[type[Exception], ...] = (
    RuntimeError, states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NoSuchFile,
    states.NotImplemented, states.RuntimeException,
)  # fmt: skip
"""What onnxruntime raises for a file that it cannot open or run; they have no common class of their own."""
_CPU = "cpu"
_ONLY_ERRORS = 3
_SHARE_OF_MEMORY = 0.5
"""Of what is free once the weights are there, for keys and values."""


class Decoder:
    """The model; for one thread at a time."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load a folder; raises DeployFailed for a broken one."""
        self.facts = facts.read(folder)
        self._session = _session(folder / facts.MODEL, threads=threads or cores())
        self._vocabulary = int(self._session.get_outputs()[0].shape[-1])
        shape = self.facts
        self._parts = [f"{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
        budget = int(psutil.virtual_memory().available * _SHARE_OF_MEMORY)
        self._memory = Memory(layers=shape.layers, heads=shape.kv_heads, width=shape.head_size, budget=budget)
        self._bindings: dict[tuple[Shelf, int, int], tuple[int, Any]] = {}
        """By shelf, first row and number of rows: the shelf's version and what is bound."""

    @property
    def together(self) -> bool:
        """Say whether rows are read in one run.

        Products in fp32 come out the same to the last bit, however many rows there are; those of 4-bit weights do not,
        and gain nothing beyond four rows (both measured), so there each row has a run of its own.
        """
        return self.facts.precision == "fp32"

    def take(self, tokens: int) -> Row | None:
        """Return a place for a text of at most that many tokens, or None while memory is short."""
        return self._memory.take(tokens)

    def give_back(self, row: Row) -> None:
        """Let go of a place."""
        row.shelf.give_back(row)
        if not row.shelf.rows:
            self._bindings = {key: kept for key, kept in self._bindings.items() if key[0] is not row.shelf}

    def restart(self, row: Row, *, tokens: int) -> None:
        """Forget a row's text; what is read next is the beginning of one with `tokens` tokens by now."""
        switch = self.facts.rope_switch
        row.length, row.long = 0, switch is not None and tokens > switch

    def outgrown(self, row: Row) -> bool:
        """Say whether the next token makes a text so long that all of it must be read again with other frequencies."""
        return row.length == self.facts.rope_switch and not row.long

    def read(self, row: Row, tokens: Sequence[int]) -> Floats:
        """Take tokens of a prompt; return the scores behind the last one, shape (vocabulary,)."""
        row.length += len(tokens)
        scores: Floats = self._compute([row], np.array([tokens], np.int64))[0]
        return scores

    def step(self, rows: Sequence[Row], tokens: Sequence[int]) -> list[Floats]:
        """Take one token for each row; return the scores of what follows it, each of shape (vocabulary,)."""
        token_of = dict(zip(map(id, rows), tokens, strict=True))
        found: dict[int, Floats] = {}
        for group in self._neighbours(rows):
            for row in group:
                row.length += 1
            scores = self._compute(group, np.array([[token_of[id(row)]] for row in group], np.int64))
            found.update(zip(map(id, group), scores, strict=True))
        return [found[id(row)] for row in rows]

    def _neighbours(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield rows that lie side by side and are turned by the same frequencies."""
        group: list[Row] = []
        for row in sorted(rows, key=lambda row: (row.shelf.capacity, row.index)):
            last = group[-1] if group else row
            near = (last.shelf, last.index + 1, last.long) == (row.shelf, row.index, row.long)
            if group and not (near and self.together):
                yield group
                group = []
            group.append(row)
        yield group

    def _compute(self, rows: Sequence[Row], tokens: npt.NDArray[np.int64]) -> Floats:
        """Run the model on neighbours; returns scores of shape (rows, vocabulary).

        A row's length is the number of ones in its mask; the mask's width chooses the frequencies.
        """
        width = max(row.length for row in rows)
        if rows[0].long and self.facts.rope_switch is not None:
            width = max(width, self.facts.rope_switch + 1)
        mask = np.zeros((len(rows), width), np.int64)
        for at, row in enumerate(rows):
            mask[at, : row.length] = 1
        scores = np.empty((len(rows), 1, self._vocabulary), np.float32)
        binding = self._bound(rows[0].shelf, rows[0].index, len(rows))
        _bind(binding.bind_input, "input_ids", tokens)
        _bind(binding.bind_input, "attention_mask", mask)
        _bind(binding.bind_output, "logits", scores)
        self._session.run_with_iobinding(binding)
        return scores[:, 0]

    def _bound(self, shelf: Shelf, begin: int, count: int) -> Any:
        """Return a binding whose keys and values are these rows', read and written in place."""
        version, binding = self._bindings.get((shelf, begin, count), (-1, None))
        if version != shelf.version:
            binding = self._session.io_binding()
            for name, array in zip(self._parts, shelf.arrays, strict=True):
                rows = array[begin : begin + count]
                _bind(binding.bind_input, f"past_key_values.{name}", rows)
                _bind(binding.bind_output, f"present.{name}", rows)
            self._bindings[shelf, begin, count] = shelf.version, binding
        return binding


def cores() -> int:
    """Return how many physical cores this process may use; a core's second thread only waits for the same memory."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def _session(file: Path, *, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ONLY_ERRORS
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except BROKEN as err:
        said = " ".join(str(err).split())[:200]
        raise DeployFailed(f"onnxruntime cannot open {file} ({said}): {facts.INSTEAD}") from err


def _bind(bind: Any, name: str, array: npt.NDArray[Any]) -> None:
    bind(name, _CPU, 0, array.dtype.type, array.shape, array.ctypes.data)
