"""The vLLM engine against a real server that speaks as vLLM 0.33 does."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner.errors import DeployFailed
from phi_runner.model.answering import EngineFailed, Finish, Finished, PromptTooLong
from phi_runner.serve.upstream import presence, vllm
from phi_runner.serve.upstream.engine import UpstreamEngine
from tests.serve.rig import until
from tests.serve.upstream.rig import QUESTION, ask, settings, stats, vllm_engine
from tests.serve.upstream.vllm_server import ROOM

LONG = "Please answer the question in one short sentence. " * 5


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[UpstreamEngine]:
    """An engine whose server says the question again, slowly enough to be interrupted."""
    with vllm_engine(tiny_model, "--pause-s=0.01", "--max-num-seqs", "8") as found:
        yield found


def test_the_prompts_tokens_are_sent_and_the_text_is_made_of_the_answers(engine: UpstreamEngine) -> None:
    ear, _cancel = ask(engine)
    end = ear.end()
    assert ear.text == QUESTION
    assert len(ear.pieces) > 5
    prompt = engine.tokenise([{"role": "user", "content": QUESTION}], max_new_tokens=64)
    asked = stats(engine)["asked"][-1]
    assert asked["prompt"] == prompt
    assert asked["stop_token_ids"]
    assert asked["ignore_eos"] is True
    assert end == Finished(
        reason=Finish.stop, prompt_tokens=len(prompt), completion_tokens=len(ear_tokens(engine, QUESTION)) + 1
    )


def ear_tokens(engine: UpstreamEngine, text: str) -> list[int]:
    tokens: list[int] = engine._prompts.tokenizer.encode(text, add_special_tokens=False).ids
    return tokens


def test_the_server_is_told_what_the_contract_needs_and_the_users_words_last(engine: UpstreamEngine) -> None:
    told = stats(engine)["told"]
    assert told["max_num_seqs"] == 8
    assert engine.slots == 8
    assert (told["max_model_len"], told["generation_config"]) == ("auto", "vllm")
    assert Path(told["uds"]).parent.stat().st_mode & 0o077 == 0
    assert engine.context == ROOM
    with pytest.raises(PromptTooLong, match=f"the model's context of {ROOM} tokens"):
        engine.tokenise([{"role": "user", "content": "x" * 4 * ROOM}], max_new_tokens=1)


@pytest.mark.parametrize(("seed", "sent"), [(None, None), (7, 7), (-1, 2**62)])
def test_sampling_goes_along(engine: UpstreamEngine, seed: int | None, sent: int | None) -> None:
    ear, _cancel = ask(engine, max_new_tokens=3, temperature=0.5, top_p=0.25, seed=seed)
    assert ear.end() == Finished(reason=Finish.length, prompt_tokens=8, completion_tokens=3)
    asked = stats(engine)["asked"][-1]
    assert (asked["temperature"], asked["top_p"], asked["seed"], asked["max_tokens"]) == (0.5, 0.25, sent, 3)
    assert (asked["top_k"], asked["add_special_tokens"]) == (0, False)


def test_a_cancelled_answer_ends_and_hangs_up(engine: UpstreamEngine) -> None:
    before = stats(engine)["hung_up"]
    ear, cancel = ask(engine, LONG)
    assert ear.first.wait(10)
    cancel()
    cancel()
    end = ear.end(within_s=5)
    assert isinstance(end, Finished)
    assert end.reason is Finish.cancelled
    assert end.completion_tokens > 0
    assert until(lambda: stats(engine)["hung_up"] == before + 1)


def test_an_answer_cancelled_before_it_began_ends_too(engine: UpstreamEngine) -> None:
    engine._exchange._loop.call_soon_threadsafe(time.sleep, 0.5)  # nothing can begin meanwhile
    ear, cancel = ask(engine)
    cancel()
    end = ear.end(within_s=5)
    assert isinstance(end, Finished)
    assert (end.reason, end.completion_tokens) == (Finish.cancelled, 0)


def test_answers_are_given_side_by_side(engine: UpstreamEngine) -> None:
    ears = [ask(engine, f"The capital of France is Paris {number}.")[0] for number in range(8)]
    assert all(isinstance(ear.end(), Finished) for ear in ears)
    assert [ear.text for ear in ears] == [f"The capital of France is Paris {number}." for number in range(8)]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refuse", "vLLM answered 400: max_tokens is too large: 9."),
        ("break", "vLLM failed: Internal server error"),
        ("other-prompt", "vLLM read another prompt than was sent: the tokens differ"),
    ],
)
def test_what_the_server_cannot_do_fails_one_answer(tiny_model: Path, fault: str, said: str) -> None:
    with vllm_engine(tiny_model, f"--faults={fault}") as engine:
        for _again in range(2):
            ear, _cancel = ask(engine)
            end = ear.end()
            assert isinstance(end, EngineFailed)
            assert str(end) == said


def test_a_server_that_dies_fails_its_answers_and_is_told_of(tiny_model: Path) -> None:
    deaths: list[BaseException] = []
    with vllm_engine(tiny_model, "--faults=die", deaths=deaths) as engine:
        ear, _cancel = ask(engine)
        end = ear.end()
        assert isinstance(end, EngineFailed)
        assert str(end).startswith("vLLM broke off: ")
        assert until(lambda: bool(deaths))
    assert str(deaths[0]).startswith("vLLM ended with exit code 9: ")


def test_closing_ends_what_is_being_said(tiny_model: Path) -> None:
    with vllm_engine(tiny_model, "--pause-s=0.05") as engine:
        ear, _cancel = ask(engine, LONG)
        assert ear.first.wait(10)
    end = ear.end(within_s=1)
    assert isinstance(end, Finished)
    assert end.reason is Finish.cancelled


def test_a_server_that_cannot_start_says_why_in_one_line(tiny_model: Path) -> None:
    with (
        pytest.raises(DeployFailed, match=r"^vLLM ended with exit code 1: ValueError: No available memory .*ready$"),
        vllm_engine(tiny_model, "--faults=no-start"),
    ):
        pass


def test_without_a_gpu_nothing_is_started(tiny_model: Path) -> None:
    if not presence.vllm():
        pytest.skip("this machine can run vLLM")
    with pytest.raises(DeployFailed, match=r"^(deploy\.engine=vllm needs a GPU|.* has no vllm)"):
        vllm.open_vllm(settings(tiny_model), on_death=[].append)
