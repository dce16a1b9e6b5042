"""What `/score` takes: both tutorials' forms and those of the notebooks in azureml-examples."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from phi_runner.model.answering import Sampling
from phi_runner.serve.fields import Body, Conversation, Count, Message, Seed, Share, Temperature, Text, sampling_of

_MOST_TEXTS = 256
"""Of one request; they are answered side by side as slots allow."""


class ScoreParams(Body):
    """The tutorials' generation parameters."""

    max_new_tokens: Count | None = None
    max_length: Count | None = None
    """Tokens of prompt and answer together; where both are given `max_new_tokens` counts, as in transformers."""
    temperature: Temperature | None = None
    top_p: Share | None = None
    do_sample: bool | None = None
    seed: Seed | None = None
    return_full_text: bool = False
    """Put the input in front of the answer; a dialogue's answer is always the new text alone."""

    def total(self) -> int | None:
        """Return the bound of prompt and answer together, where that is the one that counts."""
        return None if self.max_new_tokens else self.max_length

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


Texts = Annotated[list[Text], Field(min_length=1, max_length=_MOST_TEXTS)]


class Dialogue(Body):
    """The Foundry tutorial's form; azureml-examples also sends `[[messages]]` and `["text"]`."""

    input_string: Annotated[
        Annotated[Texts, Tag("<texts>")]
        | Annotated[Conversation, Tag("<dialogue>")]
        | Annotated[Annotated[list[Conversation], Field(min_length=1, max_length=1)], Tag("<nested>")],
        Discriminator(_shape),
    ]
    parameters: ScoreParams | None = None


Input = Annotated[
    Annotated[Texts, Tag("<strings>")] | Annotated[Dialogue, Tag("<object>")],
    Discriminator(lambda value: "<strings>" if isinstance(value, list) else "<object>"),
]


class _Scored(Body):
    """What both spellings of a score request share."""

    params: ScoreParams | None = None
    parameters: ScoreParams | None = None

    def given(self) -> tuple[str, list[str] | Dialogue]:
        """Return the name of the field that holds the input, and the input."""
        raise NotImplementedError

    def asked(self) -> tuple[str, list[str] | list[Message]]:
        """Return the name of the field that holds the input, and either texts to answer one by one or one dialogue."""
        name, given = self.given()
        if isinstance(given, list):
            return name, given
        turns, field = given.input_string, f"{name}.input_string"
        if isinstance(turns[0], list):
            return f"{field}[0]", turns[0]
        texts = [item for item in turns if isinstance(item, str)]
        return field, texts or [item for item in turns if isinstance(item, Message)]

    def settings(self) -> tuple[str, ScoreParams]:
        """Return the parameters, and the name of the field that bounds the length; those beside the input win."""
        name, given = self.given()
        inner = given.parameters if isinstance(given, Dialogue) else None
        places = {"parameters": self.parameters, "params": self.params, f"{name}.parameters": inner}
        values: dict[str, Any] = {}
        limit = "params.max_new_tokens"
        for place, parameters in places.items():
            said = {field: getattr(parameters, field) for field in parameters.model_fields_set} if parameters else {}
            values |= said
            limit = next((f"{place}.{field}" for field in ("max_new_tokens", "max_length") if said.get(field)), limit)
        return limit, ScoreParams.model_construct(**values)


class ScoreRequest(_Scored):
    """`{"input_data": ["..."], "params": {...}}` or `{"input_data": {"input_string": [...], "parameters": {...}}}`."""

    input_data: Input

    def given(self) -> tuple[str, list[str] | Dialogue]:
        """Return the input."""
        return "input_data", self.input_data


class InputsRequest(_Scored):
    """The same as some notebooks of azureml-examples spell it: `{"inputs": [...], "parameters": {...}}`."""

    inputs: Input

    def given(self) -> tuple[str, list[str] | Dialogue]:
        """Return the input."""
        return "inputs", self.inputs


def _spelling(body: object) -> str:
    return "<inputs>" if isinstance(body, dict) and "inputs" in body and "input_data" not in body else "<input_data>"


ScoreBody = Annotated[
    Annotated[ScoreRequest, Tag("<input_data>")] | Annotated[InputsRequest, Tag("<inputs>")], Discriminator(_spelling)
]
