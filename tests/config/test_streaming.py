"""What `data.stream=true` is refused with: one line each, before anything runs, with what to type."""

from pathlib import Path

import pytest

from phi_runner.config.check import check
from phi_runner.config.flags import read
from phi_runner.config.precheck import precheck
from phi_runner.errors import ConfigProblem, PhiRunnerError
from tests.config.configs import config_of

_MODEL = "model=local model.path={folder}"
_GOOD = f"data=jsonl data.train_file={{file}} data.stream=true {_MODEL} +train.extra.max_steps=10 train.max_length=16"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A data file beside a folder that passes for a model's."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "phi3", "max_position_embeddings": 64}')
    for name in ("tokenizer.json", "model.safetensors", "chat_template.jinja"):
        (folder / name).touch()
    file = tmp_path / "rows.jsonl"
    file.touch()
    return file


def _problems(file: Path, words: str) -> str:
    config = config_of(words.format(file=file, folder=file.parent / "model"))
    try:
        check(config)
    except ConfigProblem as err:
        return str(err)
    return ""


def test_what_is_right_passes(file: Path) -> None:
    assert _problems(file, _GOOD) == ""
    assert _problems(file, f"{_GOOD} data.take=5000 train=lora") == ""


def test_without_training_it_needs_no_steps_and_no_model(file: Path) -> None:
    assert _problems(file, "data=jsonl data.train_file={file} data.stream=true stages=[data]") == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            _GOOD.replace("+train.extra.max_steps=10", ""),
            "data.stream=true: how many rows there are is not known, so say for how long: "
            "type +train.extra.max_steps=1000",
        ),
        (
            _GOOD.replace("max_steps=10", "max_steps=-1"),
            "data.stream=true: how many rows there are is not known, so say for how long: "
            "type +train.extra.max_steps=1000",
        ),
        (
            f"{_GOOD} train=dpo",
            "data.stream=true is not for train=dpo, which takes its rows as a whole: type data.stream=false",
        ),
        (
            f"{_GOOD} compute.processes=2",
            "data.stream=true feeds one process, and several would share each step: type compute.processes=1",
        ),
        (
            f"{_GOOD} data.take=1%",
            "data.stream=true does not count the rows, and data.take=1% is a share of them: type data.take=100000",
        ),
        (
            _GOOD.replace(_MODEL, ""),
            "data.stream=true: the tokenizer of model=phi3_nano is trained on the data, which would be read twice: "
            "type model=local model.path=FOLDER of a model that has one",
        ),
    ],
    ids=["steps", "no-steps", "dpo", "processes", "share", "nano"],
)
def test_what_cannot_be_streamed_is_refused_in_one_line(file: Path, words: str, said: str) -> None:
    assert _problems(file, words) == said


def test_a_json_file_is_read_as_a_whole(file: Path) -> None:
    whole = file.rename(file.with_suffix(".json"))
    assert _problems(whole, _GOOD) == (
        "data.stream=true reads row by row, and a .json file is read as a whole: write one object a line into a .jsonl"
    )


def test_jobs_in_azure_get_files(file: Path) -> None:
    told = _problems(file, f"{_GOOD} compute=azure_gpu azure=rehearsal")
    assert "data.stream=true is not for compute=azure, whose jobs get the rows as files: type compute=cpu" in told


def test_the_sample_has_no_such_switch() -> None:
    with pytest.raises(PhiRunnerError, match=r"data\.stream") as raised:
        precheck(read(["data.stream=true"]))
    assert "\n" not in str(raised.value)
    assert "data=jsonl" in str(raised.value)
