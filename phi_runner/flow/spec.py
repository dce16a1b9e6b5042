"""The one description of the chat flow, from which every back end is written."""

import json
import re
from dataclasses import asdict, dataclass

from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import ChatConfig, ChatFlow, FoundryFlow, PromptFlow


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the endpoint is asked; the rendered code has a class of the same fields."""

    temperature: float
    max_new_tokens: int
    chat_form: bool
    """False: it answers a list of texts only, so the last question goes alone."""
    streams: bool
    """False: there is only `/score`, one whole answer at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec:
    """A chat flow: `input_data` and `chat_history` go in, `answer` comes out."""

    kind: str
    """What runs it: promptflow, plain or agent_framework."""
    name: str
    connection: str
    question: str
    """Asked when the caller asks nothing."""
    manner: Manner
    model: str
    """Name under which the endpoint knows its model, whichever version that is."""
    evaluated: bool = False
    """True: an evaluation flow belongs to it."""

    @property
    def environment(self) -> str:
        """What the names of the environment variables begin with that hold address and key outside Prompt flow."""
        return re.sub(r"\W", "_", self.connection).upper()

    def settings(self) -> str:
        """Return `flow.json`, which flows outside Prompt flow read."""
        values = {name: value for name, value in asdict(self).items() if name not in {"kind", "evaluated"}}
        return json.dumps({**values, "environment": self.environment}, indent=2, ensure_ascii=False) + "\n"


def spec_of(flow: ChatFlow, *, chat: ChatConfig, endpoint: Endpoint) -> FlowSpec:
    """Return the flow that the config asks for in front of an endpoint."""
    manner = Manner(
        temperature=float(chat.temperature), max_new_tokens=chat.max_new_tokens, chat_form=endpoint.chat_form,
        streams=not endpoint.resource,  # Azure's gateway passes on `/score` and nothing else
    )  # fmt: skip
    return FlowSpec(
        kind=PromptFlow.kind if isinstance(flow, FoundryFlow) else flow.kind, name=flow.name,
        connection=flow.connection, question=flow.question, manner=manner, model=endpoint.model.partition("/")[0],
        evaluated=isinstance(flow, PromptFlow) and flow.batch_rows > 0,
    )  # fmt: skip
