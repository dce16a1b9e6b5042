"""The shapes of what the endpoint answers, for the document that describes it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Reply(BaseModel):
    """Nothing but what is written here."""

    model_config = ConfigDict(extra="forbid")


class Health(Reply):
    """How the endpoint is."""

    status: Literal["live", "ready"]


class Fault(Reply):
    """Why a request is not answered."""

    message: str
    type: str
    param: str | None
    """The field that is at fault."""


class Problem(Reply):
    """The body of every refusal."""

    error: Fault


class Output(Reply):
    """The answer to a dialogue on `/score`."""

    output: str


class Model(Reply):
    """What is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    template_hash: str
    fingerprint: str


class ModelList(Reply):
    """Everything that is served: one model."""

    object: Literal["list"]
    data: list[Model]


class Said(Reply):
    """The model's turn."""

    role: Literal["assistant"]
    content: str


class Choice(Reply):
    """The one answer."""

    index: Literal[0]
    message: Said
    finish_reason: Literal["stop", "length"]
    logprobs: None


class Usage(Reply):
    """Tokens of the prompt and of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(Reply):
    """OpenAI's `chat.completion`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
