"""What one server showed in one round, with 1, 4 and 16 clients."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.serving.ask import Answer, Asked, Dialect
from benchmarks.serving.model import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of clients."""

    rate: float
    """Tokens a second, all clients together."""
    first_s: float
    """Median, as `latency_s`."""
    latency_s: float
    latency_p95_s: float
    decode_rate: float
    """Tokens a second of one answer after its first; of the whole answer where it comes at once; the median."""
    equal: int
    """Answers whose whole text is that of `generate`."""
    asked: int
    problem: str = ""


@dataclass(slots=True, kw_only=True)
class Measured:
    """One server, one round."""

    problem: str = ""
    start_s: float = 0.0
    resident_bytes: int = 0
    bandwidth_gbps: float = 0.0
    cells: dict[int, Cell] = field(default_factory=dict)


def cell(asked: Asked, *, references: Mapping[str, Reference], dialect: Dialect) -> Cell:
    """Return what some answers come to."""
    good = [answer for answer in asked.answers if not answer.problem]
    equal = [answer for answer in good if _equal(answer, references[answer.prompt].text, dialect=dialect)]
    tokens = [_tokens(answer, references[answer.prompt], exact=answer in equal) for answer in good]
    decode = [
        (count - (answer.first_s < answer.latency_s)) / _speaking_s(answer)
        for count, answer in zip(tokens, good, strict=True)
    ]
    latencies = sorted(answer.latency_s for answer in good)
    problems = dict.fromkeys(answer.problem for answer in asked.answers if answer.problem)
    said = f"{len(asked.answers) - len(good)} failed: {next(iter(problems))}" if problems else ""
    if not good:
        return Cell(
            rate=0, first_s=0, latency_s=0, latency_p95_s=0, decode_rate=0, equal=0, asked=len(asked.answers),
            problem=said,
        )  # fmt: skip
    return Cell(
        rate=sum(tokens) / asked.seconds, first_s=statistics.median(answer.first_s for answer in good),
        latency_s=statistics.median(latencies), latency_p95_s=_p95(latencies), decode_rate=statistics.median(decode),
        equal=len(equal), asked=len(asked.answers), problem=said,
    )  # fmt: skip


def _equal(answer: Answer, text: str, *, dialect: Dialect) -> bool:
    """Compare with what `generate` says; MLflow strips the answer, so both are stripped there."""
    return answer.text.strip() == text.strip() if dialect is Dialect.invocations else answer.text == text


def _tokens(answer: Answer, reference: Reference, *, exact: bool) -> int:
    """Return the server's own count; where it gives none, the reference's if the texts are the same."""
    if answer.tokens is not None:
        return answer.tokens
    return reference.tokens if exact else 0


def _speaking_s(answer: Answer) -> float:
    return answer.latency_s - answer.first_s if answer.first_s < answer.latency_s else answer.latency_s


def _p95(ordered: Sequence[float]) -> float:
    return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
