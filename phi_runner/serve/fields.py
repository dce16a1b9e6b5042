"""The fields that request bodies are made of, each with its exact type and its limits."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from phi_runner.model.answering import Sampling

INT64 = 2**63
_HOTTEST = 2.0
"""OpenAI's upper bound of the temperature."""
_COLDEST = 1e-5
_SMALLEST_SHARE = 1e-6
"""Below these a 32-bit float leaves nothing to choose from but the likeliest token."""


def _as_whole(value: object) -> object:
    """Take 8.0 for 8: to JSON they are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_as_whole)
"""Stands last in an annotation: before the bounds, it would keep them out of the document."""
Count = Annotated[int, Field(ge=1), WHOLE]
Temperature = Annotated[float, Field(ge=0, le=_HOTTEST)]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=-INT64, lt=INT64), WHOLE]


def _whole(text: str) -> str:
    """Refuse half of a surrogate pair: JSON can spell it, UTF-8 and so the tokenizer cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


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


Conversation = Annotated[list[Message], Field(min_length=1)]
"""In any order: a notebook of azureml-examples ends with the assistant's turn."""


def sampling_of(
    *, max_new_tokens: int, temperature: float | None, top_p: float | None, seed: int | None, do_sample: bool | None
) -> Sampling:
    """Return how to choose tokens; nothing asked for means greedy on every route, so that they agree."""
    wanted = temperature if temperature is not None else float(do_sample is True or top_p is not None)
    return Sampling(
        max_new_tokens=max_new_tokens, temperature=0.0 if do_sample is False or wanted < _COLDEST else wanted,
        top_p=1.0 if top_p is None else max(top_p, _SMALLEST_SHARE), seed=seed,
    )  # fmt: skip
