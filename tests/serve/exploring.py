"""Requests made from the endpoint's own document, right ones and wrong ones, by schemathesis with all its checks."""

from dataclasses import dataclass, field
from typing import Any

import httpx
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.generation import GenerationMode

from tests.serve.rig import KEY

LONGEST = 50
"""New tokens asked for at most: how much prompt and answer take together is more than a schema can say."""
ROOMY = 5000
"""Tokens of prompt and answer together, at least, for the same reason."""


@dataclass(slots=True)
class Explored:
    """What was tried and what went wrong."""

    requests: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def explore(endpoint: httpx.Client, *, most_examples: int, seed: int = 1) -> Explored:
    """Try every operation in the document."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {KEY}"},
            "generation": {"max-examples": most_examples, "deterministic": False, "database": "none"},
            "output": {"sanitization": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_url(
        f"{endpoint.base_url}/swagger.json", config=config, headers={"Authorization": f"Bearer {KEY}"}
    )
    explored = Explored()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _count(explored, event.recorder)
        elif isinstance(event, events.NonFatalError):
            explored.failures.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            explored.failures.append(repr(event.exception))
    return explored


def _count(explored: Explored, recorder: Any) -> None:
    for interaction in recorder.interactions.values():
        explored.requests += 1
        status = interaction.response.status_code if interaction.response else 0
        explored.statuses[status] = explored.statuses.get(status, 0) + 1
    for case, checks in recorder.checks.items():
        for failed in (check.failure_info for check in checks if check.failure_info is not None):
            answer = recorder.interactions[case].response
            said = answer.content[:300] if answer else b"nothing"
            explored.failures.append(f"{recorder.label}: {failed.failure}\n{said!r}\n{failed.code_sample}")


@schemathesis.hook("before_call")
def _sayable(_context: Any, case: Any, _options: dict[str, Any]) -> None:
    """Keep right requests to the rules that the document states in words."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE or not isinstance(case.body, dict):
        return
    body = case.body
    given = body.get("input_data", body.get("inputs"))
    inner = given if isinstance(given, dict) else {}
    for parameters in filter(None, (body, body.get("params"), body.get("parameters"), inner.get("parameters"))):
        for name in {"max_tokens", "max_completion_tokens", "max_new_tokens"} & set(parameters):
            parameters[name] = parameters[name] and min(parameters[name], LONGEST)
        if parameters.get("max_length"):
            parameters["max_length"] = max(parameters["max_length"], ROOMY)
