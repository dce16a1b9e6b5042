"""The body of `/score`: its fields, their limits, and its description."""

import json
from typing import Any

from settings import SETTINGS

LONGEST_BODY = 1 << 20
_ROLES = ("system", "user", "assistant")
_TURN = {"type": "object", "properties": {"inputs": {"type": "object"}, "outputs": {"type": "object"}}}
_ASKED = {
    "type": "object",
    "properties": {
        "input_data": {"type": "string", "default": SETTINGS["question"]},
        "chat_history": {"type": "array", "items": _TURN, "default": []},
    },
}
_ANSWERED = {"type": "object", "properties": {"answer": {"type": "string"}}}
_REFUSED = {"type": "object", "properties": {"error": {"type": "object"}}}


def _content(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}


SWAGGER = {
    "openapi": "3.0.0",
    "info": {"title": SETTINGS["name"], "version": "1.0.0"},
    "paths": {
        "/score": {
            "post": {
                "summary": "Ask the flow for the next turn of a dialogue",
                "requestBody": {"required": True, **_content(_ASKED)},
                "responses": {
                    "200": {"description": "the answer", **_content(_ANSWERED)},
                    "default": {"description": "why there is none", **_content(_REFUSED)},
                },
            }
        }
    },
}


class Refused(Exception):
    """A body that cannot be answered, and the status that says so."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def asked_in(data: bytes, content_type: str) -> tuple[str, list[dict[str, Any]]]:
    """Return question and history of a body; without a question the flow's own is asked. Raises Refused."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        # a page of another origin can send a form or plain text without asking first, JSON it cannot
        raise Refused(415, "content-type: must be application/json")
    try:
        values = json.loads(data)
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON text") from None
    if not isinstance(values, dict):
        raise Refused(422, "the body must be an object with input_data and chat_history")
    unknown = sorted(set(values) - {"input_data", "chat_history"})
    if unknown:
        raise Refused(422, f"{unknown[0][:80]}: there is no such field, only input_data and chat_history")
    question, history = values.get("input_data", SETTINGS["question"]), values.get("chat_history", [])
    if not isinstance(question, str) or not question.strip():
        raise Refused(422, "input_data: must be a text that is not empty")
    if not isinstance(history, list):
        raise Refused(422, "chat_history: must be a list of turns")
    for number, turn in enumerate(history):
        if not _is_turn(turn):
            forms = '{"inputs": {"input_data": ".."}, "outputs": {"answer": ".."}} or {"role": "..", "content": ".."}'
            raise Refused(422, f"chat_history[{number}]: must be {forms}")
    return question, history


def _is_turn(turn: object) -> bool:
    if not isinstance(turn, dict):
        return False
    if "role" in turn:
        return turn["role"] in _ROLES and isinstance(turn.get("content"), str)
    inputs, outputs = turn.get("inputs") or {}, turn.get("outputs") or {}
    if not isinstance(inputs, dict) or not isinstance(outputs, dict):
        return False
    return all(value is None or isinstance(value, str) for value in (inputs.get("input_data"), outputs.get("answer")))
