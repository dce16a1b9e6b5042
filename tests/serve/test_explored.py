"""What the document promises holds for requests that nobody thought of."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serve.engines import SlowEngine
from tests.serve.exploring import explore
from tests.serve.rig import serving


@pytest.fixture
def endpoint() -> Iterator[httpx.Client]:
    """An endpoint with room for any prompt, whose answers take no time."""
    with serving(SlowEngine(pause_s=0, most_words=2, slots=8, context=100_000), max_new_tokens=4) as client:
        yield client


def _explored(endpoint: httpx.Client, *, most_examples: int, at_least: int, seed: int) -> None:
    explored = explore(endpoint, most_examples=most_examples, seed=seed)
    assert explored.failures == []
    assert explored.requests >= at_least
    assert {200, 401, 404, 405, 422} <= set(explored.statuses)
    assert max(explored.statuses) < 500


def test_a_few_hundred_requests_made_from_the_document(endpoint: httpx.Client) -> None:
    _explored(endpoint, most_examples=3, at_least=300, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.timeout(900)
def test_thousands_of_requests_made_from_the_document(endpoint: httpx.Client, seed: int) -> None:
    _explored(endpoint, most_examples=80, at_least=1500, seed=seed)
