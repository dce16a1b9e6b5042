"""Metrics: what was asked, answered and refused can be counted, and nothing of what was said."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.engines import BrokenEngine, SlowEngine
from tests.serve.rig import KEY, serving, until

BODY = {"input_data": ["a private question"], "params": {"max_new_tokens": 3}}


def numbers(client: httpx.Client) -> dict[str, float]:
    """Return every sample by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        sample.name + "".join(f" {value}" for _name, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client of a fresh endpoint with one slot and a queue of one."""
    with serving(SlowEngine(), max_concurrent=1, max_queue=1, max_queue_wait_s=0.2) as ready:
        yield ready


def test_answers_are_counted_with_their_tokens_and_times(client: httpx.Client) -> None:
    for _ in range(2):
        assert client.post("/score", json=BODY).status_code == 200
    found = numbers(client)
    assert found["phi_requests_total POST /score 200"] == 2
    assert (found["phi_prompt_tokens_total"], found["phi_answer_tokens_total"]) == (6, 6)
    for name in ("phi_first_token_seconds", "phi_answer_seconds", "phi_queue_wait_seconds"):
        assert found[f"{name}_count"] == 2
    assert found["phi_answer_seconds_sum"] > found["phi_first_token_seconds_sum"] > 0
    assert (found["phi_slots"], found["phi_slots_busy"], found["phi_queue_length"]) == (1, 0, 0)


def test_refusals_are_counted_by_kind_and_route(client: httpx.Client) -> None:
    client.post("/score", json={"oops": 1})
    client.post("/score", content=b"{", headers={"Content-Type": "application/json"})
    client.get("/secret-path")
    client.request("BREW", "/score", headers={"Authorization": "Bearer wrong"})
    found = numbers(client)
    kinds = {
        name.removeprefix("phi_refusals_total "): value for name, value in found.items() if "refusals_total" in name
    }
    assert kinds == {"invalid_request_error": 1, "invalid_json": 1, "not_found": 1, "authentication_error": 1}
    assert found["phi_requests_total POST /score 422"] == found["phi_requests_total GET other 404"] == 1
    assert found["phi_requests_total other /score 401"] == 1


def test_how_full_the_endpoint_is_shows_while_it_is(client: httpx.Client) -> None:
    long = BODY | {"params": {"max_new_tokens": 100}}
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.post, "/score", json=long)
        assert until(lambda: numbers(client)["phi_slots_busy"] == 1)
        second = threads.submit(client.post, "/score", json=long)
        assert until(lambda: numbers(client)["phi_queue_length"] == 1)
        assert (first.result().status_code, second.result().status_code) == (200, 429)
    assert until(lambda: numbers(client)["phi_slots_busy"] == 0)
    assert numbers(client)["phi_refusals_total rate_limit_error"] == 1


def test_a_failed_answer_is_counted() -> None:
    with serving(BrokenEngine()) as client:
        assert client.post("/score", json=BODY).status_code == 500
        assert numbers(client)["phi_refusals_total engine_failed"] == 1


def test_nothing_that_was_sent_shows(client: httpx.Client) -> None:
    client.post("/score?sesame=1", json=BODY | {"sesame": 1}, headers={"X-Sesame": "sesame"})
    client.get("/v1/models/sesame")
    text = client.get("/metrics").text
    assert [secret for secret in (KEY, "sesame", "private", "word ") if secret in text] == []
    assert 'route="/v1/models/{model:path}"' in text
