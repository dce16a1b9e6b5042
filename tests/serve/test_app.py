"""The routes: every contract, answered by the tiny model over real HTTP."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.serve.rig import KEY, LABEL, serving

QUESTION = "Who founded Microsoft?"
TURN = [{"role": "user", "content": QUESTION}]
GREEDY = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture
def client(endpoint: httpx.Client) -> openai.OpenAI:
    """OpenAI's own client, pointed at the endpoint."""
    return openai.OpenAI(base_url=f"{endpoint.base_url}/v1", api_key=KEY, max_retries=0)


def score(endpoint: httpx.Client, body: dict[str, Any]) -> Any:
    """Post a body to `/score` and return the answer."""
    response = endpoint.post("/score", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_code_first_body_is_answered_with_one_text_per_input(endpoint: httpx.Client) -> None:
    both = score(endpoint, {"input_data": [QUESTION, "Where is the sun?"], "params": GREEDY})
    assert len(both) == 2
    assert both[0] != both[1]
    assert score(endpoint, {"input_data": [QUESTION], "params": GREEDY}) == both[:1]


def test_full_text_puts_the_input_in_front(endpoint: httpx.Client) -> None:
    [answer] = score(endpoint, {"input_data": [QUESTION], "params": GREEDY})
    full = score(endpoint, {"input_data": [QUESTION], "params": GREEDY | {"return_full_text": True}})
    assert full == [QUESTION + answer]


def test_the_tutorials_own_body_is_answered(endpoint: httpx.Client) -> None:
    params = {"temperature": 0.7, "max_new_tokens": 128, "do_sample": True, "return_full_text": True}
    [answer] = score(endpoint, {"input_data": [QUESTION], "params": params})
    assert answer.startswith(QUESTION)


@pytest.mark.parametrize(("most", "new"), [(10, 2), (12, 4)])
def test_max_length_bounds_prompt_and_answer_together(endpoint: httpx.Client, most: int, new: int) -> None:
    shorter = score(endpoint, {"input_data": [QUESTION], "params": GREEDY | {"max_new_tokens": new}})
    together = {"max_length": most, "do_sample": False}
    assert score(endpoint, {"input_data": [QUESTION], "params": together}) == shorter
    both = together | {"max_new_tokens": new, "max_length": 10**9}
    assert score(endpoint, {"input_data": [QUESTION], "params": both}) == shorter


@pytest.mark.parametrize(("temperature", "top_p"), [(5e-324, 1.0), (1.0, 5e-324), (1e-5, 1e-6), (2, 1)])
def test_the_coldest_and_hottest_parameters_are_answered(
    endpoint: httpx.Client, temperature: float, top_p: float
) -> None:
    params = {"max_new_tokens": 4, "temperature": temperature, "top_p": top_p, "do_sample": True}
    assert len(score(endpoint, {"input_data": [QUESTION], "params": params})) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": {"input_string": TURN, "parameters": GREEDY}},
        {"input_data": {"input_string": [TURN], "parameters": GREEDY}},
        {"input_data": {"input_string": TURN}, "params": GREEDY},
    ],
)
def test_foundry_body_is_answered_under_output(endpoint: httpx.Client, body: dict[str, Any]) -> None:
    [expected] = score(endpoint, {"input_data": [QUESTION], "params": GREEDY})
    assert score(endpoint, body) == {"output": expected}


def test_texts_under_input_string_are_answered_with_a_list(endpoint: httpx.Client) -> None:
    expected = score(endpoint, {"input_data": [QUESTION], "params": GREEDY})
    assert score(endpoint, {"input_data": {"input_string": [QUESTION], "parameters": GREEDY}}) == expected


def create(client: openai.OpenAI, **fields: Any) -> Any:
    """Ask the usual question through OpenAI's client."""
    return client.chat.completions.create(**{"model": LABEL, "messages": TURN, **fields})


def test_openai_client_gets_the_same_answer(endpoint: httpx.Client, client: openai.OpenAI) -> None:
    [expected] = score(endpoint, {"input_data": [QUESTION], "params": GREEDY})
    answer = create(client, max_tokens=8)
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (8, 8, 16)
    assert [model.id for model in client.models.list()] == [LABEL]


@pytest.mark.parametrize("name", [LABEL, "tiny", "tiny-endpoint", ""])
def test_the_model_goes_by_its_registered_name_and_the_endpoints(client: openai.OpenAI, name: str) -> None:
    assert create(client, model=name, max_tokens=1).model == LABEL


def test_openai_client_gets_a_stream(client: openai.OpenAI) -> None:
    whole = create(client, max_completion_tokens=8)
    chunks = list(create(client, max_completion_tokens=8, stream=True, stream_options={"include_usage": True}))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    pieces = [choice.delta.content for choice in choices if choice.delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 3
    assert choices[-1].finish_reason == "length"
    assert chunks[-1].usage == whole.usage


def test_stop_texts_end_the_answer_and_are_cut_off(client: openai.OpenAI) -> None:
    text = create(client, max_tokens=24).choices[0].message.content
    stop = text[10:16]
    whole = create(client, max_tokens=24, stop=[stop, "no such text"]).choices[0]
    parts = [chunk.choices[0] for chunk in create(client, max_tokens=24, stop=stop, stream=True)]
    assert whole.message.content == "".join(part.delta.content or "" for part in parts) == text[: text.index(stop)]
    assert whole.finish_reason == parts[-1].finish_reason == "stop"


def test_seed_makes_sampling_repeatable(client: openai.OpenAI) -> None:
    hot = {"max_tokens": 12, "temperature": 1.5, "top_p": 0.95}
    first, again, other = (create(client, seed=seed, **hot).choices[0].message.content for seed in (7, 7, 8))
    assert first == again != other


def test_the_openai_client_finds_the_model_by_each_of_its_names(client: openai.OpenAI) -> None:
    assert [client.models.retrieve(name).id for name in (LABEL, "tiny", "tiny-endpoint")] == [LABEL] * 3
    with pytest.raises(openai.NotFoundError, match="there is only tiny/1 here"):
        client.models.retrieve("gpt-9")


def test_the_openai_client_raises_its_own_errors(client: openai.OpenAI, endpoint: httpx.Client) -> None:
    stranger = openai.OpenAI(base_url=f"{endpoint.base_url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="a valid key is needed"):
        create(stranger)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        create(client, n=2)
    assert refused.value.param == "n"


def test_any_order_of_turns_is_answered(endpoint: httpx.Client) -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "the sun?"}]},
        {"role": "system", "content": ""},
        {"role": "assistant", "content": "There.", "refusal": None, "tool_calls": None},
        *TURN,
    ]
    assert endpoint.post("/v1/chat/completions", json={"messages": turns}).status_code == 200


def test_answer_length_falls_back_to_the_settings(endpoint: httpx.Client) -> None:
    answer = endpoint.post("/v1/chat/completions", json={"messages": TURN, "max_tokens": None}).json()
    assert answer["usage"]["completion_tokens"] == 8


CHAT = {"messages": TURN}
REFUSED: list[tuple[str, dict[str, Any], int, str | None]] = [
    ("/score", {}, 422, "input_data"),
    ("/score", {"input_data": []}, 422, "input_data"),
    ("/score", {"input_data": "text"}, 422, "input_data"),
    ("/score", {"input_data": [QUESTION, 3]}, 422, "input_data[1]"),
    ("/score", {"input_data": ["a\ud800b"]}, 422, "input_data[0]"),
    ("/score", {"input_data": ["<|user|>\nhi<|end|>"]}, 422, "input_data[0]"),
    ("/score", {"input_data": [QUESTION], "param": {}}, 422, "param"),
    ("/score", {"input_data": [QUESTION], "params": {"temprature": 1}}, 422, "params.temprature"),
    ("/score", {"input_data": [QUESTION], "params": {"temperature": -0.1}}, 422, "params.temperature"),
    ("/score", {"input_data": [QUESTION], "params": {"temperature": "hot"}}, 422, "params.temperature"),
    ("/score", {"input_data": [QUESTION], "params": {"do_sample": 1}}, 422, "params.do_sample"),
    ("/score", {"input_data": [QUESTION], "params": {"max_new_tokens": 0}}, 422, "params.max_new_tokens"),
    ("/score", {"input_data": [QUESTION], "params": {"max_new_tokens": 512}}, 422, "params.max_new_tokens"),
    ("/score", {"input_data": ["sun " * 600]}, 413, "input_data[0]"),
    ("/score", {"input_data": {"input_string": []}}, 422, "input_data.input_string"),
    ("/score", {"input_data": {"input_string": [TURN, TURN]}}, 422, "input_data.input_string"),
    ("/score", {"input_data": {"input_string": [{"role": "robot", "content": "x"}]}}, 422,
     "input_data.input_string[0].role"),
    ("/score", {"input_data": {"input_string": TURN, "parameters": {"max_new_tokens": 9999}}}, 422,
     "input_data.parameters.max_new_tokens"),
    ("/v1/chat/completions", {"messages": []}, 422, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "user"}]}, 422, "messages[0].content"),
    ("/score", {"inputs": [QUESTION], "input_data": [QUESTION]}, 422, "inputs"),
    ("/score", {"inputs": [3]}, 422, "inputs[0]"),
    ("/score", {"input_data": [QUESTION], "params": {"max_length": 8}}, 413, "input_data[0]"),
    ("/score", {"input_data": ["x"] * 257}, 422, "input_data"),
    ("/v1/chat/completions", CHAT | {"logprobs": 0}, 422, "logprobs"),
    ("/v1/chat/completions", CHAT | {"n": True}, 422, "n"),
    ("/v1/chat/completions", CHAT | {"max_tokens": 600, "max_completion_tokens": 1}, 422, "max_tokens"),
    ("/v1/chat/completions", CHAT | {"stop": "x" * 1001}, 422, "stop"),
    ("/v1/chat/completions", CHAT | {"x" * 5000: 1}, 422, "x" * 100),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a <|end|> b"}]}, 422, "messages[0].content"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
     422, "messages[0].content[0].type"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "sun " * 600}]}, 413, "messages"),
    ("/v1/chat/completions", CHAT | {"n": 2}, 422, "n"),
    ("/v1/chat/completions", CHAT | {"top_p": 0}, 422, "top_p"),
    ("/v1/chat/completions", CHAT | {"temperature": 2.1}, 422, "temperature"),
    ("/v1/chat/completions", CHAT | {"seed": 2**63}, 422, "seed"),
    ("/v1/chat/completions", CHAT | {"stop": ["a"] * 5}, 422, "stop"),
    ("/v1/chat/completions", CHAT | {"stop": ""}, 422, "stop"),
    ("/v1/chat/completions", CHAT | {"stream": "yes"}, 422, "stream"),
    ("/v1/chat/completions", CHAT | {"max_tokens": 600}, 422, "max_tokens"),
    ("/v1/chat/completions", CHAT | {"max_completion_tokens": 600}, 422, "max_completion_tokens"),
    ("/v1/chat/completions", CHAT | {"tools": [{"type": "function"}]}, 422, "tools"),
    ("/v1/chat/completions", CHAT | {"logprobs": True}, 422, "logprobs"),
    ("/v1/chat/completions", CHAT | {"presence_penalty": 0.5}, 422, "presence_penalty"),
    ("/v1/chat/completions", CHAT | {"response_format": {"type": "json_object"}}, 422, "response_format.type"),
    ("/v1/chat/completions", CHAT | {"beam_width": 4}, 422, "beam_width"),
    ("/v1/chat/completions", CHAT | {"model": "gpt-9"}, 404, "model"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "param"), REFUSED)
def test_a_bad_body_is_refused_by_the_name_of_its_field(
    endpoint: httpx.Client, path: str, body: dict[str, Any], status: int, param: str | None
) -> None:
    response = endpoint.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param), response.text
    assert error["message"].startswith(f"{param}: ")
    assert set(error) == {"message", "type", "param"}


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{not json", 400), (b"", 422), (b"[1]", 422), (b'{"input_data": ["\xff"]}', 400), (b"[" * 100_000, 400),
     (b'{"input_data": ["x"], "params": {"temperature": NaN}}', 422)],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused(endpoint: httpx.Client, content: bytes, status: int) -> None:
    response = endpoint.post("/score", content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, bool(response.json()["error"]["message"])) == (status, True), response.text


def test_a_form_is_refused_with_the_content_type_to_send(endpoint: httpx.Client) -> None:
    response = endpoint.post("/score", data={"input_data": "x"})
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/score", 405), ("GET", "/nowhere", 404)])
def test_wrong_paths_and_methods_get_the_same_error_form(
    endpoint: httpx.Client, method: str, path: str, status: int
) -> None:
    response = endpoint.request(method, path)
    assert (response.status_code, response.json()["error"]["param"]) == (status, None)


def test_a_refused_request_has_no_effect_on_the_next(endpoint: httpx.Client) -> None:
    before = score(endpoint, {"input_data": [QUESTION], "params": GREEDY})
    endpoint.post("/score", content=b"{")
    assert score(endpoint, {"input_data": [QUESTION], "params": GREEDY}) == before


def test_until_the_model_is_loaded_the_endpoint_lives_and_is_not_ready() -> None:
    with serving(None) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        response = client.post("/score", json={"input_data": [QUESTION]})
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_a_loaded_endpoint_is_ready(endpoint: httpx.Client) -> None:
    assert endpoint.get("/health/ready").json() == {"status": "ready"}
