"""A check that says when it is half way and then waits to be killed: `python -m tests.preflight.endless FOLDER`."""

import sys
import time
from pathlib import Path

from phi_runner import artifacts
from phi_runner.artifacts import Dataset
from phi_runner.config.schema import FileData, StageName
from phi_runner.events import Event, Events, Kind, StageEvents
from phi_runner.stages import data as stage
from phi_runner.stages.stage import RunDir
from tests.runs import config


def _wait(event: Event) -> None:
    if event.kind is Kind.progress and "checked" in event.message:
        print("half way", flush=True)
        time.sleep(60)


def main(folder: Path) -> None:
    """Check the rows of a folder."""
    events = Events()
    events.listen(_wait)
    run = config(StageName.data, outputs=folder, data=FileData(train_file=str(folder / "rows.jsonl")))
    dataset = artifacts.read(Dataset, folder=folder / "result")
    assert dataset is not None
    where = RunDir(folder=folder, outputs=folder, key="k" * 64, events=StageEvents(events, "data"))
    stage.inspect(run, dataset, where)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
