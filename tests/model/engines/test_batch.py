"""Answers side by side are those of transformers' `generate` alone, for every shape that a Phi-3 model has."""

import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import torch

from phi_runner.errors import DeployFailed
from phi_runner.model.answering import Finish, Finished, Piece, Prompt, Sampling
from phi_runner.model.engines import batch, batched
from phi_runner.model.engines.batched import TransformersEngine
from tests import tiny

LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64,
    "short_factor": [1.0 + 0.01 * place for place in range(8)],
    "long_factor": [1.5 + 0.5 * place for place in range(8)],
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped heads, tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "sliding window": {"sliding_window": 24},
    "long rope": {"original_max_position_embeddings": 64, "rope_parameters": LONGROPE},
    "part of the width": {
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75},
    },
}  # fmt: skip
LENGTHS = (3, 9, 20, 40, 60, 70, 100, 130, 200, 300)
"""Prompts that begin before and after the window and the switch of frequencies, and cross them while answered."""


@pytest.fixture(scope="module", params=SHAPES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model of one shape."""
    from transformers import Phi3Config, Phi3ForCausalLM

    tokenizer = tiny.make_tokenizer()
    torch.manual_seed(3)
    values = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": tiny.CONTEXT, "original_max_position_embeddings": tiny.CONTEXT,
        "vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    model = Phi3ForCausalLM(Phi3Config(**{**values, **SHAPES[request.param]}))
    for parameter in model.parameters():
        parameter.data.mul_(6)  # answers that depend on what was asked
    place = tmp_path_factory.mktemp("shape")
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    """The model of one shape, loaded."""
    loaded = TransformersEngine(folder, slots=4)
    yield loaded
    loaded.close()


def begin(engine: TransformersEngine, tokens: list[int], sampling: Sampling) -> "Queue[Piece]":
    """Begin an answer and return where its pieces arrive."""
    said: Queue[Piece] = Queue()
    engine.start(Prompt(messages=(), tokens=tokens), sampling=sampling, tell=said.put)
    return said


def heard(said: "Queue[Piece]") -> tuple[str, Finished]:
    """Wait for the end of an answer."""
    text = ""
    while isinstance(piece := said.get(timeout=60), str):
        text += piece
    assert isinstance(piece, Finished), piece
    return text, piece


def test_each_of_many_answers_is_that_of_generate(folder: Path, engine: TransformersEngine) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reference, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    chance = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, len(tokenizer), (length,), generator=chance).tolist() for length in LENGTHS]
    waiting = [begin(engine, prompt, Sampling(max_new_tokens=40)) for prompt in prompts]
    for prompt, said in zip(prompts, waiting, strict=True):
        ids = torch.tensor([prompt])
        whole = reference.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False
        )
        answer = whole[0, len(prompt) :]
        text, finished = heard(said)
        assert text == tokenizer.decode(answer, skip_special_tokens=True), len(prompt)
        assert finished.completion_tokens == len(answer), len(prompt)


def test_a_long_prompt_alone_is_read_piece_by_piece(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = [5 + place % 200 for place in range(400)]
    whole = heard(begin(engine, prompt, Sampling(max_new_tokens=5)))
    monkeypatch.setattr(batch, "STEP_TOKENS", 32)
    assert heard(begin(engine, prompt, Sampling(max_new_tokens=5))) == whole


def test_a_row_is_free_for_the_next_once_an_answer_has_ended(engine: TransformersEngine) -> None:
    held = engine._batch._memory
    for said in [begin(engine, [5, 6, 7], Sampling(max_new_tokens=4)) for _answer in range(9)]:
        heard(said)
    until = time.monotonic() + 10
    while held.rows and time.monotonic() < until:
        time.sleep(0.01)
    assert held.rows == 0


def test_an_answer_waits_while_memory_is_short_and_is_then_given(tiny_model: Path) -> None:
    engine = TransformersEngine(tiny_model, slots=4)
    engine._batch._memory._budget = 200
    waiting = [begin(engine, [5, 6, 7, 8], Sampling(max_new_tokens=100)) for _answer in range(3)]
    texts = {heard(said)[0] for said in waiting}
    assert len(texts) == 1
    engine.close()


def test_a_cancelled_answer_ends_soon_whether_it_waits_or_speaks(tiny_model: Path) -> None:
    engine = TransformersEngine(tiny_model, slots=1)
    first, second = Queue[Piece](), Queue[Piece]()
    cancels = [
        engine.start(Prompt(messages=(), tokens=[5, 6]), sampling=Sampling(max_new_tokens=500), tell=said.put)
        for said in (first, second)
    ]
    assert isinstance(first.get(timeout=30), str)
    for cancel in reversed(cancels):
        cancel()
    for said in (first, second):
        _text, finished = heard(said)
        assert finished.reason is Finish.cancelled
        assert finished.completion_tokens < 400
    engine.close()


def test_a_decoder_that_scores_otherwise_is_not_served(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "_TOLERANCE", {torch.float32: -1.0})
    with pytest.raises(DeployFailed, match=r"scores for .* differ from transformers' by"):
        TransformersEngine(tiny_model)
