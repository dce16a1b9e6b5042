"""What `/v1/chat/completions` takes: OpenAI's fields, but for those that would change the answer as we cannot."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, WithJsonSchema

from phi_runner.model.answering import Sampling
from phi_runner.serve.fields import WHOLE, Body, Conversation, Count, Seed, Share, Temperature, Text, sampling_of

_LONGEST_STOP = 1000
"""Characters; every piece of an answer is compared with the beginning of every stop text."""
Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[int, Field(ge=1, le=1), WHOLE]
Nothing = Annotated[list[Any], Field(max_length=0)]


def _off(wanted: bool) -> bool:
    if wanted:
        raise ValueError("must be false or left out")
    return wanted


No = Annotated[bool, AfterValidator(_off), WithJsonSchema({"type": "boolean", "const": False})]
"""`Literal[False]` would let 0 pass: they are equal."""
StopText = Annotated[Text, StringConstraints(min_length=1, max_length=_LONGEST_STOP)]


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ResponseFormat(Body):
    """Plain text is the only format."""

    type: Literal["text"]


class ChatRequest(Body):
    """OpenAI's chat completion; fields that would change the answer in a way we cannot are refused."""

    model: str = ""
    messages: Conversation
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    seed: Seed | None = None
    stop: Annotated[
        Annotated[StopText, Tag("<text>")]
        | Annotated[Annotated[list[StopText], Field(max_length=4)], Tag("<texts>")]
        | Annotated[None, Tag("<none>")],
        Discriminator(lambda value: {list: "<texts>", type(None): "<none>"}.get(type(value), "<text>")),
    ] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: One | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logprobs: No | None = None
    response_format: ResponseFormat | None = None
    tools: Nothing | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None

    def limit(self) -> tuple[str, int | None]:
        """Return the field that bounds the answer's length and its value."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens

    def sampling(self, *, default_tokens: int) -> Sampling:
        """Return how to choose tokens."""
        return sampling_of(
            max_new_tokens=self.limit()[1] or default_tokens, temperature=self.temperature, top_p=self.top_p,
            seed=self.seed, do_sample=None,
        )  # fmt: skip

    def stops(self) -> list[str]:
        """Return the texts that end the answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []
