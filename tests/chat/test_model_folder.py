"""What a model's folder says that matters to a chat."""

import json
from pathlib import Path

import pytest

from phi_runner.chat import model_folder
from phi_runner.model import templates

TEMPLATES = Path(templates.__file__).parent


@pytest.mark.parametrize(
    ("name", "takes"), [("phi3", True), ("phi3_5", True), ("phi3_medium", False), ("phi4", True), ("phi4_mini", True)]
)
def test_template_itself_tells_whether_it_takes_a_system_prompt(name: str, takes: bool, tmp_path: Path):
    text = (TEMPLATES / f"{name}.jinja").read_text()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": text}))
    assert model_folder.takes_system(tmp_path) is takes
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no system turn') }}")
    assert not model_folder.takes_system(tmp_path)


def test_folder_that_says_nothing_limits_nothing_beyond_the_common(tmp_path: Path):
    assert model_folder.takes_system(tmp_path)
    assert model_folder.context(tmp_path) == 4096
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 256}')
    assert model_folder.context(tmp_path) == 256
