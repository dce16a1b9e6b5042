"""The document: every route, every refusal, both forms, both ways to send a key, and the bounds that are in force."""

from typing import Any

import httpx
import pytest

from tests.serve.rig import LABEL, serving

ASKING = ("/score", "/v1/chat/completions")


@pytest.fixture(scope="module")
def document(endpoint: httpx.Client) -> dict[str, Any]:
    """The document of an endpoint that serves the tiny model."""
    found: dict[str, Any] = endpoint.get("/swagger.json").json()
    return found


def test_every_route_is_there_and_only_health_needs_no_key(document: dict[str, Any]) -> None:
    operations = {path: item[method] for path, item in document["paths"].items() for method in item}
    assert set(operations) == {
        "/health/live", "/health/ready", "/metrics", "/score", "/v1/chat/completions", "/v1/models",
        "/v1/models/{model}",
    }  # fmt: skip
    assert [path for path, operation in operations.items() if not operation["security"]] == [
        "/health/live", "/health/ready"
    ]  # fmt: skip
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}


@pytest.mark.parametrize("path", ASKING)
def test_every_refusal_is_documented_with_its_body(document: dict[str, Any], path: str) -> None:
    responses = document["paths"][path]["post"]["responses"]
    assert {"400", "401", "408", "413", "415", "422", "429", "500", "503"} <= set(responses)
    for status, response in responses.items():
        if status != "200":
            shape = response["content"]["application/json"]["schema"]
            assert shape == {"$ref": "#/components/schemas/Problem"}
    assert "Retry-After" in responses["429"]["headers"]


def test_both_forms_of_score_and_both_answers_are_described(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    body = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {shape["$ref"].rpartition("/")[2] for shape in body["oneOf"]} == {"ScoreRequest", "InputsRequest"}
    assert len(shapes["ScoreRequest"]["properties"]["input_data"]["oneOf"]) == 2
    assert len(shapes["Dialogue"]["properties"]["input_string"]["oneOf"]) == 3
    answer = document["paths"]["/score"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert len(answer["anyOf"]) == 2


def test_bounds_are_those_of_the_model_that_is_served(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    assert shapes["ChatRequest"]["properties"]["max_tokens"]["anyOf"][0]["maximum"] == 511
    assert shapes["ChatRequest"]["properties"]["seed"]["anyOf"][0]["maximum"] == 2**63 - 1
    assert shapes["ChatRequest"]["properties"]["model"]["enum"][0] == LABEL
    with serving(None) as loading:
        early = loading.get("/swagger.json").json()["components"]["schemas"]
    assert early["ChatRequest"]["properties"]["max_tokens"]["anyOf"][0]["maximum"] > 511
