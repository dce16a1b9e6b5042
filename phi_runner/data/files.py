"""Local files as sources: which reader a suffix means, and what is wrong with a path."""

from pathlib import Path

from phi_runner.config.typo import did_you_mean, nearest
from phi_runner.data.json_files import json_source, jsonl_source
from phi_runner.data.lines import reading
from phi_runner.data.rows import Source
from phi_runner.data.table_files import csv_source, parquet_source
from phi_runner.errors import DataProblem


def local_path(typed: str) -> Path:
    """Return the file that the user means: `~` is expanded, a relative path starts where the command was typed."""
    return Path(typed).expanduser()


def open_file(typed: str, *, key: str) -> Source:
    """Return the rows of a local file; raises DataProblem that names the config key when there is no such file."""
    file = local_path(typed)
    if file.is_dir():
        raise DataProblem(f"{key}={typed} is a folder: name one of the files in it")
    with reading(file):
        if not file.exists():
            raise DataProblem(f"{key}={typed} does not exist{_nearest(key, file)}")
    match file.suffix.lower():
        case ".jsonl":
            return jsonl_source(file)
        case ".json":
            return json_source(file)
        case ".csv":
            return csv_source(file)
        case ".parquet":
            return parquet_source(file)
        case other:
            said = f"the suffix {other} is not known" if other else "it has no suffix"
            raise DataProblem(f"{key}={typed}: {said}: the file's name must end in .jsonl, .json, .csv or .parquet")


def _nearest(key: str, file: Path) -> str:
    if not file.parent.is_dir():
        return f": there is no folder {file.parent.absolute()}"
    close = nearest(file.name, sorted(item.name for item in file.parent.iterdir() if item.is_file()))
    return did_you_mean(f"{key}={file.parent / name}" for name in close) or f" in {file.parent.absolute()}"
