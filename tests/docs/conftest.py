"""A folder in which everything exists that the documentation's commands name, on a machine that has everything."""

import json
import re
from pathlib import Path

import pytest

from phi_runner.config import cuda
from tests.docs import pages

_FILE = re.compile(r"=([\w./-]+\.(?:jsonl|csv|parquet))\b")
_RUNS = re.compile(r" runs?=\[?([\w./,-]+)")


@pytest.fixture
def everything_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the files, runs and the FOLDER that commands name, eight devices, Slurm and an account."""
    monkeypatch.chdir(tmp_path)
    commands = "\n".join(command for page in pages.PAGES for command in pages.commands(page))
    runs = {f"outputs/runs/{Path(run).name}" for named in _RUNS.findall(commands) for run in named.split(",")}
    for name in (*_FILE.findall(commands), *(f"{run}/run.json" for run in runs)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"messages": []}\n')
    model = tmp_path / "FOLDER"
    model.mkdir()
    shape = {"model_type": "phi3", "max_position_embeddings": 4096}
    (model / "config.json").write_text(json.dumps(shape))
    for name in ("tokenizer.json", "model.safetensors", "chat_template.jinja"):
        (model / name).touch()
    _preset(model / "data" / "mine.yaml", support=tmp_path)
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent), prepend=":")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "00000000-0000-0000-0000-000000000001")
    monkeypatch.setenv("OPENAI_API_KEY", "a judge's key")
    monkeypatch.setattr(cuda, "_found", lambda: 8)
    return tmp_path


def _preset(file: Path, *, support: Path) -> None:
    """Write the preset that the page on data shows, with its rows where there are some."""
    [shown] = [block.text for block in pages.blocks(pages.ROOT / "docs" / "data.md") if block.language == "yaml"]
    file.parent.mkdir()
    for name in ("until_may.jsonl", "june.jsonl"):
        (support / name).write_text('{"messages": []}\n')
    file.write_text(shown.replace("/data/support", str(support)))
