"""Text outside the task: what a training makes a model forget shows in its loss there."""

from pathlib import Path

from phi_runner.config.schema import EvaluateConfig, RowFormat
from phi_runner.config.take import parse_take
from phi_runner.data.files import open_file
from phi_runner.data.inspect import inspect
from phi_runner.data.rows import columns
from phi_runner.events import StageEvents
from phi_runner.model.tokens import Dialogue

SHIPPED = Path(__file__).with_name("probe.jsonl")
_MOST_ROWS = 512
_ROWS_OF_LITTLE_USE = 12


def dialogues(config: EvaluateConfig, *, from_scratch: bool, events: StageEvents) -> list[Dialogue]:
    """Return the dialogues to probe with, none where nobody asks; raises DataProblem for a file that holds none.

    A base `from_scratch` had nothing to forget: a few rows show that it still knows nothing.
    """
    if not config.probe:
        return []
    source = open_file(config.probe_file or str(SHIPPED), key="evaluate.probe_file")
    most = _ROWS_OF_LITTLE_USE if from_scratch and not config.probe_file else _MOST_ROWS
    take = parse_take(str(min(most, source.total() or 1)))
    spelling = RowFormat.auto if config.probe_file else RowFormat.messages
    found = inspect(source, take=take, spelling=spelling, events=events)
    read = (columns(row)["messages"] for row in found.rows)
    return [[{"role": turn["role"], "content": turn["content"]} for turn in dialogue] for dialogue in read]
