"""The transformers engine: what it says, how it stops, and what it refuses."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.model.answering import Finish, Finished, Piece, Prompt, PromptRefused, PromptTooLong, Sampling
from phi_runner.model.engines.batched import TransformersEngine
from phi_runner.model.engines.speech import Speech, unsettled
from tests import tiny

ASK = [{"role": "user", "content": "Who founded Microsoft?"}]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    """The tiny model, loaded."""
    return TransformersEngine(tiny_model, pause_s=0.0)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The tiny model's tokenizer."""
    return tiny.make_tokenizer()


def say(engine: TransformersEngine, sampling: Sampling) -> tuple[list[str], Finished]:
    """Answer the usual question."""
    prompt = engine.tokenise(ASK, max_new_tokens=sampling.max_new_tokens)
    said: Queue[Piece] = Queue()
    engine.start(Prompt(messages=tuple(ASK), tokens=prompt), sampling=sampling, tell=said.put)
    pieces = []
    while isinstance(piece := said.get(timeout=60), str):
        pieces.append(piece)
    assert isinstance(piece, Finished)
    return pieces, piece


def test_greedy_answer_is_what_generate_says(engine: TransformersEngine, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reference, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    prompt = tokenizer.apply_chat_template(ASK, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = reference.generate(**prompt, max_new_tokens=24, do_sample=False)[0][prompt["input_ids"].shape[1] :]

    pieces, finished = say(engine, Sampling(max_new_tokens=24))

    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
    assert len(pieces) > 10
    assert finished == Finished(
        reason=Finish.length, prompt_tokens=prompt["input_ids"].shape[1], completion_tokens=len(ids)
    )


def test_answer_ends_at_an_end_token_of_the_generation_config(
    engine: TransformersEngine, tiny_model: Path, tmp_path: Path, tokenizer: Any
) -> None:
    third = say(engine, Sampling(max_new_tokens=3))[0][2]
    token = next(id_ for text, id_ in tokenizer.get_vocab().items() if text.replace("\u2581", " ") == third)
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [token]}))

    pieces, finished = say(TransformersEngine(folder, pause_s=0.0), Sampling(max_new_tokens=24))

    assert (finished.reason, finished.completion_tokens) == (Finish.stop, 3)
    assert len(pieces) == 3


def test_text_is_gathered_between_two_pieces_but_the_first_comes_at_once(tokenizer: Any) -> None:
    words = tokenizer("The capital of France is Paris.", add_special_tokens=False)["input_ids"]
    speech = Speech(tokenizer.backend_tokenizer, pause_s=60.0)
    pieces = [speech.say(token) for token in words]
    assert pieces[0]
    assert not any(pieces[1:])
    assert pieces[0] + speech.rest() == "The capital of France is Paris."


def test_seed_fixes_the_answer_whatever_else_is_answered(engine: TransformersEngine) -> None:
    drawn = [Sampling(max_new_tokens=12, temperature=1.5, seed=seed) for seed in (1, 2, 3)]
    alone = [say(engine, sampling)[0] for sampling in drawn]
    with ThreadPoolExecutor(3) as threads:
        together = [pieces for pieces, _ in threads.map(lambda sampling: say(engine, sampling), drawn)]

    assert together == alone
    assert len({"".join(pieces) for pieces in alone}) == 3
    assert say(engine, Sampling(max_new_tokens=12, temperature=1.5))[0] not in alone


@pytest.mark.parametrize("cold", [{"temperature": 1.0, "top_p": 1e-6}, {"temperature": 1e-30}])
def test_sampling_that_leaves_one_choice_is_greedy(engine: TransformersEngine, cold: dict[str, float]) -> None:
    assert say(engine, Sampling(max_new_tokens=12, seed=0, **cold))[0] == say(engine, Sampling(max_new_tokens=12))[0]


def test_a_prompt_too_long_carries_both_numbers(engine: TransformersEngine) -> None:
    long = [{"role": "user", "content": "Who founded Microsoft? " * 200}]
    with pytest.raises(PromptTooLong, match=r"the prompt has \d+ tokens, at most 500 fit") as caught:
        engine.tokenise(long, max_new_tokens=12)
    assert caught.value.limit == tiny.CONTEXT - 12
    assert caught.value.prompt_tokens > 500


def test_a_dialogue_that_the_template_refuses_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(PromptRefused, match="no system role"):
        TransformersEngine(folder).tokenise(ASK, max_new_tokens=1)


def test_prompt_follows_the_chat_template_without_further_special_tokens(
    engine: TransformersEngine, tokenizer: Any
) -> None:
    expected = tokenizer("<|user|>\nWho founded Microsoft?<|end|>\n<|assistant|>\n", add_special_tokens=False)
    assert engine.tokenise(ASK, max_new_tokens=1) == expected["input_ids"]


def test_control_tokens_are_known(engine: TransformersEngine) -> None:
    assert set(engine.markers) == set(tiny.PHI3_TOKENS)


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd\u2581"), max_size=40))
def test_spoken_pieces_join_to_the_whole_text_and_never_hold_half_a_character(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = spoken(tokenizer.backend_tokenizer, tokens)
    assert "".join(pieces) == tokenizer.decode(tokens, skip_special_tokens=True)
    assert not any("\ufffd" in piece for piece in pieces)


@given(tokens=st.lists(st.integers(min_value=0, max_value=300), max_size=40))
def test_spoken_pieces_of_any_tokens_join_to_what_the_tokenizer_makes_of_them(
    tokenizer: Any, tokens: list[int]
) -> None:
    assert "".join(spoken(tokenizer.backend_tokenizer, tokens)) == tokenizer.decode(tokens, skip_special_tokens=True)


def spoken(tokenizer: Any, tokens: list[int]) -> list[str]:
    """Speak token by token."""
    speech = Speech(tokenizer, held=unsettled(tokenizer))
    return [*(speech.say(token) for token in tokens), speech.rest()]
