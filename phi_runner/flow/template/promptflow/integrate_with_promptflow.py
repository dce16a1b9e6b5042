"""Ask the endpoint for the next turn of the dialogue: the one node of this flow."""

import os
from collections.abc import Iterator
from typing import Any

from endpoint import Manner, answer, messages_of
from promptflow.connections import CustomConnection
from promptflow.core import tool


def value_of(connection: CustomConnection, name: str) -> str:
    """Return a value of the connection; the one that Azure AI Foundry keeps holds all of them as secrets."""
    return str({**(connection.configs or {}), **(connection.secrets or {})}[name])


@tool
def integrate_with_promptflow(
    input_data: str,
    chat_history: list[dict[str, Any]],
    connection: CustomConnection,
    temperature: float,
    max_new_tokens: int,
    chat_form: bool,
    streams: bool,
) -> Iterator[str] | str:
    """Return the model's answer to `input_data` after the turns in `chat_history`, piece by piece.

    With WHOLE_ANSWERS in the environment it comes as one text: a batch run of Prompt flow 1.18.5 ends altogether when
    one answer breaks off in its pieces.
    """
    manner = Manner(temperature=temperature, max_new_tokens=max_new_tokens, chat_form=chat_form, streams=streams)
    url, key = value_of(connection, "endpoint"), value_of(connection, "key")
    pieces = answer(messages_of(chat_history, input_data), url=url, key=key, manner=manner)
    return "".join(pieces) if os.environ.get("WHOLE_ANSWERS") else pieces
