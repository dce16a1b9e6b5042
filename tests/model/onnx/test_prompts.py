"""Prompts made without torch are those of `apply_chat_template`, token for token."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime_genai")

from phi_runner.errors import DeployFailed
from phi_runner.model.answering import PromptRefused, PromptTooLong
from phi_runner.model.onnx.prompts import Prompts
from tests import shrunk, tiny

ASK = [{"role": "user", "content": "Who founded Microsoft?"}]
_TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["", " ", "\n\n", "<|end|>", "a<|user|>\nb", "</s><s>", "{{ 1 + 1 }}", "\u00a0ü 你好 \U0001f600", "<0x41>"]
)
_DIALOGUES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": _TEXTS}),
    min_size=1, max_size=5,
)  # fmt: skip


@pytest.fixture(scope="module", params=["tiny", *sorted(shrunk.TEMPLATES)])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Prompts, Any]:
    """A family's prompts, and transformers' tokenizer of the same folder."""
    from transformers import AutoTokenizer

    from phi_runner.model.onnx.build import save_tokenizer

    folder = tmp_path_factory.mktemp(request.param)
    made = tiny.make_tokenizer() if request.param == "tiny" else shrunk.make_tokenizer(request.param)
    made.save_pretrained(folder / "model")
    (folder / "onnx").mkdir()
    save_tokenizer(folder / "model", folder=folder / "onnx")
    return Prompts(folder / "onnx", context=10_000), AutoTokenizer.from_pretrained(folder / "model")


@given(dialogue=_DIALOGUES)
def test_tokens_are_those_of_apply_chat_template(both: tuple[Prompts, Any], dialogue: list[dict[str, str]]) -> None:
    prompts, tokenizer = both
    text = tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
    expected = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert prompts.tokenise(dialogue, max_new_tokens=1) == expected


def test_markers_are_the_control_tokens(both: tuple[Prompts, Any]) -> None:
    prompts, tokenizer = both
    added = tokenizer.added_tokens_decoder.values()
    expected = {token.content for token in added if token.special and token.content.startswith("<|")}
    assert set(prompts.markers) == expected


def test_a_prompt_too_long_carries_both_numbers(exported: Path) -> None:
    long = [{"role": "user", "content": "Who founded Microsoft? " * 200}]
    with pytest.raises(PromptTooLong, match=r"the prompt has \d+ tokens, at most 500 fit") as caught:
        Prompts(exported, context=tiny.CONTEXT).tokenise(long, max_new_tokens=12)
    assert caught.value.limit == tiny.CONTEXT - 12


def test_a_dialogue_that_the_template_refuses_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "onnx")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(PromptRefused, match="no system role"):
        Prompts(folder, context=512).tokenise(ASK, max_new_tokens=1)


def test_a_folder_without_a_template_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "onnx")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(DeployFailed, match="has no tokenizer or no chat template"):
        Prompts(folder, context=512)
