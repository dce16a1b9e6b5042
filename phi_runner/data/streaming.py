"""The rows of a streamed data set while training reads them: checked, less the held-out ones, shuffled, without end."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import FileData, HubData, RowFormat
from phi_runner.data import open_sources
from phi_runner.data.beginning import counted, most_rows, usable
from phi_runner.data.identity import ends
from phi_runner.data.inspect import Inspected, tell
from phi_runner.data.rows import Dialogue, Source, columns
from phi_runner.data.split import digest, digest_of
from phi_runner.errors import DataProblem
from phi_runner.events import StageEvents

SHUFFLED_ROWS = 10_000
"""Dialogues that wait together, of which the next is drawn."""
SHUFFLED_CHARACTERS = 64_000_000
"""Text of those; long dialogues wait in smaller company."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """The dialogues of a source, pass after pass, each in an order that follows from the seed and the pass.

    Calling it begins anew at the first pass. In memory are the dialogues that wait to be drawn and the hashes of the
    held-out rows.
    """

    source: Source
    format: RowFormat
    most: int | None
    """Rows of the source that are read; None: all of them."""
    held_out: frozenset[bytes]
    seed: int
    events: StageEvents
    passes: int = 0
    """Ended passes since the last beginning."""
    passed_over: int = 0
    """Rows of this pass that are held out, or equal to one that is."""
    found: Inspected = field(init=False)
    """What was read in this pass, and what is wrong with the rows that were left out."""

    def __post_init__(self) -> None:
        self.found = counted(self.source, spelled=self.format)

    def __call__(self) -> Iterator[Dialogue]:
        """Yield dialogues without end; raises DataProblem for a source that has none."""
        self.passes = 0
        while True:
            chance = random.Random(f"{self.seed} {self.passes}")  # noqa: S311 - an order, not a secret
            yield from shuffled(self._once(), chance=chance)
            if self.found.taken == sum(item.count for item in self.found.dropped.values()) + self.passed_over:
                raise DataProblem(f"{self.source.name}: none of its {self.found.taken} rows is left to learn from")
            self.passes += 1
            self.tell(f"pass {self.passes} over {self.source.name} is done")

    def tell(self, what: str) -> None:
        """Say how many rows were read in this pass, and what was left out."""
        self.events.info(
            f"{what}: {self.found.taken} rows read, {self.passed_over} of them held out", rows=self.found.taken
        )
        if self.passes < 2:  # the others leave out the same rows
            tell(self.found, events=self.events)

    def _once(self) -> Iterator[Dialogue]:
        self.found, self.passed_over = counted(self.source, spelled=self.format), 0
        for row in usable(self.source, most=self.most, found=self.found):
            if digest(row, seed=self.seed) in self.held_out:
                self.passed_over += 1
            else:
                yield columns(row)["messages"]


def reopen(dataset: Dataset, *, seed: int, events: StageEvents) -> Reading:
    """Open the source of a streamed data set again; raises DataProblem when it is gone or is another one now."""
    told = json.loads(dataset.source_file.read_text(encoding="utf-8"))
    spelled = RowFormat(told["format"])
    config: FileData | HubData
    if told["kind"] == FileData.kind:
        config = FileData(train_file=told["train_file"], format=spelled, stream=True)
    else:
        named = {name: told[name] for name in ("repo", "subset", "split", "revision")}
        config = HubData(**named, format=spelled, stream=True)
    source = open_sources(config).train
    if isinstance(config, FileData) and ends(Path(config.train_file)) != told["ends"]:
        raise DataProblem(f"{config.train_file} is not the file that rows were held out of: type force=[data]")
    with dataset.test_jsonl.open(encoding="utf-8") as lines:
        held_out = frozenset(digest_of(line.rstrip("\n"), seed=seed) for line in lines)
    return Reading(
        source=source, format=spelled, most=most_rows(told["take"]), held_out=held_out, seed=seed, events=events
    )


def shuffled(dialogues: Iterable[Dialogue], *, chance: random.Random) -> Iterator[Dialogue]:
    """Yield each dialogue once, drawn from those that were read; no more wait than the two limits allow."""
    waiting: list[Dialogue] = []
    characters = 0
    for dialogue in dialogues:
        waiting.append(dialogue)
        characters += _characters(dialogue)
        while len(waiting) > SHUFFLED_ROWS or (characters > SHUFFLED_CHARACTERS and len(waiting) > 1):
            place = chance.randrange(len(waiting))
            waiting[place], waiting[-1] = waiting[-1], waiting[place]
            drawn = waiting.pop()
            characters -= _characters(drawn)
            yield drawn
    chance.shuffle(waiting)
    yield from waiting


def _characters(dialogue: Dialogue) -> int:
    return sum(len(message["content"]) for message in dialogue)
