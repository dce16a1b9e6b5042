"""Every request that the four sources send is answered in the form that they read: fixtures/ names each source."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.serve.rig import KEY

FILES = sorted((Path(__file__).parent / "fixtures").glob("*.json"))
SENT = [(file.stem, request) for file in FILES for request in json.loads(file.read_text(encoding="utf-8"))["requests"]]


def test_there_are_four_sources() -> None:
    assert [file.stem for file in FILES] == [
        "azureml_assets", "azureml_examples", "code_first_tutorial", "foundry_tutorial"
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "request_"), SENT)
def test_what_a_source_sends_is_answered(endpoint: httpx.Client, source: str, request_: dict[str, Any]) -> None:
    response = endpoint.post(request_.get("path", "/score"), json=request_["body"])
    assert response.status_code == 200, response.text
    answer, given = response.json(), request_["body"].get("input_data", request_["body"].get("inputs"))
    match request_["answer"]:
        case "texts":
            texts = given["input_string"] if isinstance(given, dict) else given
            assert [type(text) for text in answer] == [str] * len(texts)
        case "output":
            assert (list(answer), type(answer["output"])) == (["output"], str)
        case "completion":
            assert answer["choices"][0]["message"]["role"] == "assistant"


def test_the_tutorials_client_code_reads_the_answers(endpoint: httpx.Client) -> None:
    """Both as the tutorials' nodes write it: `requests`, the body as text, the key as a bearer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    url = f"{endpoint.base_url}/score"
    first = {"input_data": ["Who founded Microsoft?"], "params": {"max_new_tokens": 8, "do_sample": False}}
    answered = requests.post(url, json=first, headers=headers, timeout=30)
    answered.raise_for_status()
    turns = [{"role": "user", "content": "Who founded Microsoft?"}]
    second = {"input_data": {"input_string": turns, "parameters": {"temperature": 0, "max_new_tokens": 8}}}
    chatted = requests.post(url, data=str.encode(json.dumps(second)), headers=headers, timeout=30)
    assert answered.json()[0] == chatted.json()["output"]
