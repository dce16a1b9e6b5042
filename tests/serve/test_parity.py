"""Fifty conversations: every route says what transformers' `generate` says, from the tokens that training saw."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from phi_runner.model.tokens import exact
from phi_runner.serve.stops import StopTexts
from tests.serve.rig import serving

TOKENS = 16
_WORDS = "Who founded Microsoft in 1975 ? the sun is Paris größe 東京 émile naïve 🙂 capital of France model answer"
Conversation = list[dict[str, str]]


def conversations() -> list[Conversation]:
    """Return fifty dialogues of one to three questions, some with a system message, some beyond ASCII."""
    chance = random.Random(5)
    words = _WORDS.split()
    found = []
    for number in range(50):
        system = [{"role": "system", "content": " ".join(chance.sample(words, 4))}] if number % 5 == 0 else []
        turns = []
        for turn in range(1 + number % 3):
            asked, said = (" ".join(chance.choices(words, k=chance.randint(1, 9))) for _text in range(2))
            turns += [{"role": "user", "content": asked}] if turn == number % 3 else [
                {"role": "user", "content": asked}, {"role": "assistant", "content": said},
            ]  # fmt: skip
        found.append([*system, *turns])
    return found


CONVERSATIONS = conversations()


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> tuple[Any, Any]:
    """Plain transformers: model and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def expected(reference: tuple[Any, Any]) -> list[str]:
    """What `generate` answers each conversation."""
    model, tokenizer = reference
    answers = []
    for messages in CONVERSATIONS:
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        said = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        answers.append(tokenizer.decode(said[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


@pytest.fixture(scope="module", params=["transformers", "onnx"])
def client(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """An endpoint of one engine."""
    engine = _engine(request.param, tiny_model, outputs=tmp_path_factory.mktemp("outputs"))
    with serving(engine, max_new_tokens=TOKENS) as opened:
        yield opened
    engine.close()


def _engine(name: str, folder: Path, *, outputs: Path) -> Any:
    if name == "transformers":
        from phi_runner.model.engines.batched import TransformersEngine

        return TransformersEngine(folder)
    pytest.importorskip("onnxruntime_genai")
    from phi_runner.events import Events, StageEvents
    from phi_runner.model.onnx import engine, export

    events = StageEvents(Events(), "deploy")
    return engine.OnnxEngine(export.ensure(folder, precision="fp32", outputs=outputs, events=events).folder)


def chat(client: httpx.Client, messages: Conversation) -> str:
    """Ask as an OpenAI client does."""
    reply = client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": TOKENS, "temperature": 0})
    return str(reply.raise_for_status().json()["choices"][0]["message"]["content"])


def streamed(client: httpx.Client, messages: Conversation) -> str:
    """The same, piece by piece."""
    import json

    asked = {"messages": messages, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    text = ""
    with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
        for line in reply.raise_for_status().iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    return text


def dialogue(client: httpx.Client, messages: Conversation) -> str:
    """Ask as the Foundry tutorial does."""
    parameters = {"max_new_tokens": TOKENS, "temperature": 0}
    body = {"input_data": {"input_string": messages, "parameters": parameters}}
    return str(client.post("/score", json=body).raise_for_status().json()["output"])


@pytest.mark.parametrize("route", [chat, streamed, dialogue])
def test_every_route_says_what_generate_says(client: httpx.Client, route: Any, expected: Sequence[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda messages: route(client, messages), CONVERSATIONS))
    assert answers == list(expected)
    assert len(set(answers)) > 20  # they depend on what was asked


def test_texts_of_the_code_first_tutorial_are_answered_alike(client: httpx.Client, expected: Sequence[str]) -> None:
    single = [(row, talk) for row, talk in enumerate(CONVERSATIONS) if len(talk) == 1]
    body = {
        "input_data": [messages[0]["content"] for _row, messages in single],
        "params": {"max_new_tokens": TOKENS, "do_sample": False},
    }
    assert client.post("/score", json=body).raise_for_status().json() == [expected[row] for row, _talk in single]
    assert len(single) > 10


def test_a_stop_text_cuts_every_route_at_the_same_place(client: httpx.Client, expected: Sequence[str]) -> None:
    row = next(row for row, text in enumerate(expected) if len(text) > 12)
    stop = expected[row][6:9]
    watch = StopTexts([stop])
    asked = {"messages": CONVERSATIONS[row], "max_tokens": TOKENS, "temperature": 0, "stop": [stop]}
    choice = client.post("/v1/chat/completions", json=asked).raise_for_status().json()["choices"][0]
    assert choice["message"]["content"] == watch.feed(expected[row])
    assert choice["finish_reason"] == "stop"


def test_every_engine_is_given_the_tokens_that_training_saw(
    client: httpx.Client, reference: tuple[Any, Any], request: pytest.FixtureRequest
) -> None:
    tokenizer = reference[1]
    answered = [[*messages, {"role": "assistant", "content": "Yes."}] for messages in CONVERSATIONS]
    block = exact.encode(tokenizer, answered)
    begins = 0
    for messages, length in zip(CONVERSATIONS, block.lengths.tolist(), strict=True):
        row, labels = block.ids[begins : begins + length], block.labels[begins : begins + length]
        begins += length
        reply = client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 1}).raise_for_status()
        seen = reply.json()["usage"]["prompt_tokens"]
        given = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        assert seen == len(given)
        assert row[:seen].tolist() == given
        assert labels[seen] == row[seen]  # the first token that is learnt is the first one that is answered
