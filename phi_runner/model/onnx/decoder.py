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
from phi_runner.model.answering import Sampling
from phi_runner.model.engines.memory import Memory, Row, Segment, Shelf
from phi_runner.model.onnx import facts
from phi_runner.model.onnx.draw import Draw, Floats

BROKEN: tuple[type[Exception], ...] = (
    RuntimeError, states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NoSuchFile,
    states.NotImplemented, states.RuntimeException,
)  # fmt: skip
"""What onnxruntime raises for a file that it cannot open or run; they have no common class of their own."""
_CPU = "cpu"
_ONLY_ERRORS = 3


class Decoder:
    """The model; for one thread at a time."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load a folder; raises DeployFailed for a broken one."""
        self.facts = facts.read(folder)
        self._session = _session(folder / facts.MODEL, threads=threads or cores())
        self._vocabulary = int(self._session.get_outputs()[0].shape[-1])
        shape = self.facts
        self._parts = [f"{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
        self._bindings: dict[tuple[Shelf, int, int], tuple[int, Any]] = {}
        """By shelf, first row and number of rows: the shelf's version and what is bound."""

    @property
    def together(self) -> bool:
        """Say whether rows are read in one run.

        Products in fp32 come out the same to the last bit, however many rows there are; those of 4-bit weights do not,
        and gain nothing beyond four rows (both measured), so there each row has a run of its own.
        """
        return self.facts.precision == "fp32"

    def memory(self, *, budget: int) -> Memory:
        """Return room for keys and values, of that many bytes at most."""
        values = len(self._parts) * self.facts.kv_heads * self.facts.head_size
        return Memory(
            self._empty, bytes_per_token=values * np.dtype(np.float32).itemsize, budget=budget,
            switch=self.facts.rope_switch,
        )  # fmt: skip

    def _empty(self, rows: int, capacity: int) -> list[Floats]:
        size = (rows, self.facts.kv_heads, capacity, self.facts.head_size)
        return [np.zeros(size, np.float32) for _part in self._parts]

    def draw(self, sampling: Sampling) -> Draw | None:
        """Return what draws an answer's tokens, None where the likeliest is taken."""
        return Draw(sampling) if sampling.temperature > 0 else None

    def likeliest(self, scores: Floats) -> list[int]:
        """Return the likeliest token of every row of scores."""
        found: list[int] = scores.argmax(-1).tolist()
        return found

    def forward(self, segments: Sequence[Segment], *, asked: Sequence[Segment]) -> Floats:
        """Take the next tokens of some answers and return the scores after the `asked` ones, (asked, vocabulary)."""
        found: dict[int, Floats] = {}
        for group in self._neighbours([segment for segment in segments if len(segment.tokens) == 1]):
            for segment in group:
                segment.row.length += 1
            tokens = np.array([list(segment.tokens) for segment in group], np.int64)
            scores = self._compute([segment.row for segment in group], tokens)
            found.update(zip(map(id, group), scores, strict=True))
        for segment in segments:
            if len(segment.tokens) > 1:
                segment.row.length += len(segment.tokens)
                found[id(segment)] = self._compute([segment.row], np.array([segment.tokens], np.int64))[0]
        return (
            np.stack([found[id(segment)] for segment in asked])
            if asked
            else np.empty((0, self._vocabulary), np.float32)
        )

    def _neighbours(self, segments: Sequence[Segment]) -> Iterator[list[Segment]]:
        """Yield those whose rows lie side by side and are turned by the same frequencies."""
        group: list[Segment] = []
        for segment in sorted(segments, key=lambda item: (item.row.shelf.capacity, item.row.index)):
            row, last = segment.row, group[-1].row if group else segment.row
            near = (last.shelf, last.index + 1, last.long) == (row.shelf, row.index, row.long)
            if group and not (near and self.together):
                yield group
                group = []
            group.append(segment)
        if group:
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
            self._bindings = {key: kept for key, kept in self._bindings.items() if kept[0] == key[0].version}
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
