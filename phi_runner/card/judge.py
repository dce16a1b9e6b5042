"""A language model behind an OpenAI-compatible endpoint compares both answers, asked twice, with either one first.

A judge that favours a place then favours each answer once and cancels out. The words of its task and its
`[[A]]`, `[[B]]`, `[[C]]` are those of MT-Bench (Zheng et al. 2023), which many models have been tried with.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from phi_runner.card.content import Card
from phi_runner.card.figures import of_scores
from phi_runner.card.intervals import Chance
from phi_runner.config.schema import JudgeConfig
from phi_runner.errors import EvaluateFailed

if TYPE_CHECKING:
    import httpx

_AT_A_TIME = 4
_RETRIES = 4
_BACKOFF_S = 0.5
_MOST_WAIT_S = 30.0
_VERDICT = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_TASK = (
    "Act as an impartial judge of two assistants' answers to the dialogue below. Judge how helpful, right and to the "
    "point they are; a reference answer is given, and an answer may be good in other words. Do not let the order of "
    "the answers or their length sway you. Explain in one or two sentences, then end with your verdict in exactly this "
    'form: "[[A]]" if answer A is better, "[[B]]" if answer B is better, "[[C]]" for a tie.'
)
_ALIKE = 0.5


class Outcome(NamedTuple):
    """How the answer after training did on one prompt: 1 won, 0 lost, between them for ties and changes of mind."""

    row: int
    score: float | None
    """None: neither reply could be read."""
    replies: tuple[str, str]
    """`before`, `after`, `tie`, `same` (not asked: the answers are the same) or `unreadable`, by order."""


def judge(
    card: Card, table: Sequence[Mapping[str, Any]], *, config: JudgeConfig, told: Callable[[int], None]
) -> Card:  # fmt: skip
    """Return the card with what the judge said of the first prompts; raises EvaluateFailed where it cannot be asked."""
    rows = list(table[: config.prompts])
    found: list[Outcome] = []
    with _client(config) as client, ThreadPoolExecutor(_AT_A_TIME) as threads:
        for outcome in threads.map(partial(_outcome, client, config), range(len(rows)), rows):
            found.append(outcome)
            told(len(found))
    return _with(card, found, config=config)


def _with(card: Card, found: Sequence[Outcome], *, config: JudgeConfig) -> Card:
    unreadable = Counter(reply for outcome in found for reply in outcome.replies)["unreadable"]
    scores = [outcome.score for outcome in found if outcome.score is not None]
    told = {
        "model": config.model,
        "url": config.url,
        "prompts": len(found),
        "same": sum(outcome.replies[0] == "same" for outcome in found),
        "unreadable": unreadable,
        "outcomes": [outcome._asdict() for outcome in found],
    }
    if not scores:
        why = f"none of the judge's {2 * len(found)} replies could be read"
        return replace(card, judge=told, not_measured=card.not_measured | {"judge": why})
    note = f"{unreadable} of {2 * len(found)} replies could not be read" if unreadable else ""
    figure = of_scores(
        "judge", f"prompts on which {config.model or 'the judge'} prefers the answer",
        before=[1 - score for score in scores], after=scores,
        chance=Chance(card.confidence, card.resamples, card.seed), note=note,
    )  # fmt: skip
    return replace(card, judge=told, figures=[*card.figures, figure])


def _outcome(client: "httpx.Client", config: JudgeConfig, number: int, row: Mapping[str, Any]) -> Outcome:
    """Ask about one prompt in both orders."""
    if row["before"].strip() == row["after"].strip():
        return Outcome(number, _ALIKE, ("same", "same"))
    replies = []
    for order in pairwise(("before", "after", "before")):
        letter = _reply(client, config, dialogue=_dialogue(row, first=row[order[0]], second=row[order[1]]))
        replies.append({"A": order[0], "B": order[1], "C": "tie"}.get(letter, "unreadable"))
    points = [{"after": 1.0, "before": 0.0, "tie": _ALIKE}[reply] for reply in replies if reply != "unreadable"]
    return Outcome(number, sum(points) / len(points) if points else None, (replies[0], replies[1]))


def _dialogue(row: Mapping[str, Any], *, first: str, second: str) -> str:
    turns = "\n".join(f"{message['role']}: {message['content']}" for message in row["messages"])
    parts = (("Dialogue", turns), ("Reference answer", row["wanted"]), ("Answer A", first), ("Answer B", second))
    return "\n\n".join(f"[{title}]\n{text}\n[End of {title.lower()}]" for title, text in parts)


def _client(config: JudgeConfig) -> "httpx.Client":
    """Return a client that asks again where an endpoint fails for a moment; the key is in its headers alone."""
    import httpx
    from httpx_retries import Retry, RetryTransport

    key = os.environ.get(config.key_env, "") if config.key_env else ""
    if config.key_env and not key:
        raise EvaluateFailed(f"the judge's key is not set: type export {config.key_env}=..., or evaluate.judge.url=")
    again = Retry(
        total=_RETRIES, allowed_methods=["POST"], status_forcelist=[408, 429, 500, 502, 503, 504],
        backoff_factor=_BACKOFF_S, max_backoff_wait=_MOST_WAIT_S,
    )  # fmt: skip
    return httpx.Client(
        transport=RetryTransport(transport=httpx.HTTPTransport(), retry=again), timeout=config.timeout_s,
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )  # fmt: skip


def _reply(client: "httpx.Client", config: JudgeConfig, *, dialogue: str) -> str:
    """Return the letter of the judge's verdict, or nothing where it cannot be read; raises EvaluateFailed."""
    import httpx

    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": "system", "content": _TASK}, {"role": "user", "content": dialogue}],
    }
    if config.temperature is not None:
        body["temperature"] = config.temperature
    where = f"evaluate.judge.url={config.url}"
    try:
        answer = client.post(f"{config.url.rstrip('/')}/chat/completions", json=body)
    except httpx.HTTPError as err:
        raise EvaluateFailed(
            f"{where} does not answer ({type(err).__name__}): look at the address, or type evaluate.judge.url= to do "
            "without; what was measured is kept"
        ) from err
    if answer.status_code in {401, 403}:
        raise EvaluateFailed(f"{where} refuses the key in {config.key_env} ({answer.status_code}): set another one")
    if not answer.is_success:
        said = " ".join(answer.text.split())[:200]
        raise EvaluateFailed(
            f"{where} answers {answer.status_code} for evaluate.judge.model={config.model or '(empty)'}: {said}; what "
            "was measured is kept"
        )
    return _letter(_text(answer))


def _text(answer: "httpx.Response") -> str:
    """Return what the reply says; nothing where it has another form."""
    try:
        found = answer.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _letter(text: str) -> str:
    """Return the one verdict that a reply gives; one that gives two, or none, cannot be read."""
    found = set(_VERDICT.findall(text))
    return found.pop() if len(found) == 1 else ""
