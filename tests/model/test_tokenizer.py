"""The tokenizer made here: any text survives it, and the control tokens are single ones."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_runner.model import tokenizer as bpe


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return bpe.train(["hello world, how are you?"] * 3, vocab_size=400, context=128)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60).filter(lambda text: "<" not in text and "▁" not in text and not text.startswith(" ")))
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_many_equally_rare_characters_give_the_same_vocabulary_in_every_process() -> None:
    program = (
        "from phi_runner.model import tokenizer as bpe\n"
        "texts = [chr(0x4E00 + n) for n in range(900)]\n"
        "print(sorted(bpe.train(texts, vocab_size=700, context=128).get_vocab().items()))\n"
    )
    said = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=100).stdout
        for _ in range(2)
    }
    assert len(said) == 1


def test_control_tokens_are_single_ids_inside_the_vocabulary(tokenizer: Any) -> None:
    for token in bpe.SPECIAL_TOKENS:
        [number] = tokenizer(token, add_special_tokens=False)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(number) == token
    assert len(tokenizer) <= 400


def test_a_text_that_spells_a_byte_token_stays_text(tokenizer: Any) -> None:
    ids = tokenizer("<0x41>", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    assert tokenizer.decode(ids) == "<0x41>"


def test_padding_is_not_the_end_marker(tokenizer: Any) -> None:
    assert tokenizer.pad_token == "<unk>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
