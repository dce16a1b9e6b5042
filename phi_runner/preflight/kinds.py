"""What each finding is called, what its share is of, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What a finding is about; the order is the page's."""

    reading = "Rows that were left out"
    repeats = "The same again"
    divided = "Held-out rows that are learnt from"
    personal = "Personal things and keys"
    answers = "Answers"
    text = "Damaged text"
    shape = "Rows that stand out"
    tokens = "Tokens and steps"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding."""

    part: Part
    title: str
    of: str
    """What the share is of."""
    advice: str


KINDS: dict[str, Kind] = {
    "malformed": Kind(
        Part.reading,
        "not in the shape of the format",
        "rows",
        "name the format with data.format=..., or mend these rows",
    ),
    "role_order": Kind(
        Part.reading,
        "speakers do not take turns",
        "rows",
        "a dialogue is: maybe one system turn, then user and assistant in turn",
    ),
    "one_sided": Kind(
        Part.reading,
        "empty, or nobody answers",
        "rows",
        "add the assistant's turns, or leave these rows out of the file",
    ),
    "markers": Kind(
        Part.reading,
        "control tokens or half characters inside a turn",
        "rows",
        "remove the chat template's markers from the text",
    ),
    "exact_duplicates": Kind(
        Part.repeats, "said before, word for word", "rows", "nothing: each is kept once; ask where they come from"
    ),
    "near_duplicates": Kind(
        Part.repeats,
        "said before, in almost the same words",
        "rows",
        "keep one of each group, unless the wordings are meant",
    ),
    "conflicting_answers": Kind(
        Part.repeats,
        "one question, different answers",
        "rows",
        "decide for one answer, or add what the other one depends on to the question",
    ),
    "leakage": Kind(
        Part.divided,
        "also learnt, word for word or almost",
        "held-out rows",
        "name other held-out rows with data.eval_file, or keep one of each group before the split",
    ),
    "shared_questions": Kind(
        Part.divided,
        "question is learnt too, with another answer",
        "held-out rows",
        "keep a question on one side of the split",
    ),
    "email": Kind(
        Part.personal,
        "e-mail addresses",
        "rows",
        "replace them by a placeholder before training: a model repeats what it has learnt",
    ),
    "phone": Kind(Part.personal, "phone numbers", "rows", "replace them by a placeholder before training"),
    "key": Kind(
        Part.personal, "API keys, tokens, passwords", "rows", "revoke them now, then remove them from the rows"
    ),
    "card": Kind(Part.personal, "payment cards", "rows", "remove them: they may not be stored, let alone learnt"),
    "iban": Kind(Part.personal, "bank accounts", "rows", "replace them by a placeholder before training"),
    "ip": Kind(Part.personal, "public IP addresses", "rows", "replace them by one of documentation, such as 192.0.2.1"),
    "boilerplate": Kind(
        Part.answers,
        "one answer for many questions",
        "rows",
        "keep a few of them: the model will give it to everything",
    ),
    "stock_openings": Kind(
        Part.answers,
        "many answers begin alike, whatever is asked",
        "rows",
        "thin them out: refusals and flattery spread to every answer",
    ),
    "echo": Kind(Part.answers, "the question again as the answer", "rows", "leave these rows out"),
    "loop": Kind(
        Part.answers,
        "the same words over and over",
        "rows",
        "leave these rows out: a model that learns them does not stop",
    ),
    "control": Kind(Part.text, "control characters", "rows", "remove them from the text"),
    "mojibake": Kind(
        Part.text,
        "wrongly decoded text",
        "rows",
        "read the original again as UTF-8; the text itself can often be mended with ftfy",
    ),
    "html": Kind(Part.text, "remains of HTML", "rows", "take the text out of its markup"),
    "outlier": Kind(Part.shape, "very much longer than the others", "rows", "see whether they are one dialogue each"),
    "system_prompts": Kind(
        Part.shape, "without the usual system prompt, or almost it", "rows", "use one wording throughout, or none"
    ),
    "truncated_tokens": Kind(
        Part.tokens,
        "supervised tokens cut off",
        "supervised tokens",
        "type a larger train.max_length, or divide long dialogues",
    ),
    "unsupervised": Kind(
        Part.tokens,
        "read but not learnt",
        "tokens",
        "shorten what comes before the answers, or accept that most of the work goes into reading",
    ),
    "few_steps": Kind(
        Part.tokens,
        "almost no optimiser steps",
        "",
        "take more rows, more train.epochs, a smaller train.batch_size, or train.packing=false",
    ),
}
