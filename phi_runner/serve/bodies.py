"""The request bodies: both tutorials' `/score` forms and OpenAI's chat completions, with the limits of every field."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from phi_runner.model.answering import Sampling

_INT64 = 2**63
_HOTTEST = 2.0
"""OpenAI's upper bound of the temperature."""
Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, le=_HOTTEST)]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=-_INT64, lt=_INT64)]
Zero = Annotated[float, Field(ge=0, le=0)]
Nothing = Annotated[list[Any], Field(max_length=0)]


def _whole(text: str) -> str:
    """Refuse half of a surrogate pair: JSON can spell it, UTF-8 and so the tokenizer cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]
StopText = Annotated[Text, StringConstraints(min_length=1)]


class Body(BaseModel):
    """Exact types; a field that is not known is refused, so that nothing a client asks for is silently ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TextPart(Body):
    """A piece of a message's content, as newer OpenAI clients send it."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """One turn; what clients send back beside role and content of an earlier answer is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")
    role: Literal["system", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag("<text>")] | Annotated[list[TextPart], Tag("<parts>")],
        Discriminator(lambda value: "<parts>" if isinstance(value, list) else "<text>"),
    ]

    def plain(self) -> dict[str, str]:
        """Return role and text."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


def _ends_with_user(messages: list[Message]) -> list[Message]:
    if messages[-1].role != "user":
        raise ValueError("the last message must be the user's")
    return messages


Conversation = Annotated[list[Message], Field(min_length=1), AfterValidator(_ends_with_user)]


def sampling_of(
    *, max_new_tokens: int, temperature: float | None, top_p: float | None, seed: int | None, do_sample: bool | None
) -> Sampling:
    """Return how to choose tokens; nothing asked for means greedy on every route, so that they agree."""
    wanted = temperature if temperature is not None else float(do_sample is True or top_p is not None)
    return Sampling(
        max_new_tokens=max_new_tokens, temperature=0.0 if do_sample is False else wanted,
        top_p=1.0 if top_p is None else top_p, seed=seed,
    )  # fmt: skip


class ScoreParams(Body):
    """The tutorials' generation parameters."""

    max_new_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    do_sample: bool | None = None
    seed: Seed | None = None
    return_full_text: bool = False
    """Put the input in front of the answer; a dialogue's answer is always the new text alone."""

    def sampling(self, *, default_tokens: int) -> Sampling:
        """Return how to choose tokens."""
        return sampling_of(
            max_new_tokens=self.max_new_tokens or default_tokens, temperature=self.temperature, top_p=self.top_p,
            seed=self.seed, do_sample=self.do_sample,
        )  # fmt: skip


def _shape(value: object) -> str:
    """Tell texts, a dialogue, and a dialogue inside a list apart by the first element."""
    first = value[0] if isinstance(value, list) and value else None
    return "<texts>" if isinstance(first, str) else "<nested>" if isinstance(first, list) else "<dialogue>"


Texts = Annotated[list[Text], Field(min_length=1)]


class Dialogue(Body):
    """The Foundry tutorial's form; azureml-examples also sends `[[messages]]` and `["text"]`."""

    input_string: Annotated[
        Annotated[Texts, Tag("<texts>")]
        | Annotated[Conversation, Tag("<dialogue>")]
        | Annotated[Annotated[list[Conversation], Field(max_length=1)], Tag("<nested>")],
        Discriminator(_shape),
    ]
    parameters: ScoreParams | None = None


class ScoreRequest(Body):
    """`{"input_data": ["..."], "params": {...}}` or `{"input_data": {"input_string": [...], "parameters": {...}}}`."""

    input_data: Annotated[
        Annotated[Texts, Tag("<strings>")] | Annotated[Dialogue, Tag("<object>")],
        Discriminator(lambda value: "<strings>" if isinstance(value, list) else "<object>"),
    ]
    params: ScoreParams | None = None

    def asked(self) -> tuple[str, list[str] | list[Message]]:
        """Return the name of the field that holds the input, and either texts to answer one by one or one dialogue."""
        if isinstance(self.input_data, list):
            return "input_data", self.input_data
        given, field = self.input_data.input_string, "input_data.input_string"
        if isinstance(given[0], list):
            return f"{field}[0]", given[0]
        texts = [item for item in given if isinstance(item, str)]
        return field, texts or [item for item in given if isinstance(item, Message)]

    def parameters(self) -> tuple[str, ScoreParams]:
        """Return the name of the field that holds the parameters, and them."""
        if isinstance(self.input_data, Dialogue) and self.input_data.parameters:
            return "input_data.parameters", self.input_data.parameters
        return "params", self.params or ScoreParams()


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
    n: Literal[1] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logprobs: Literal[False] | None = None
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
