"""Votes on answers, kept as rows to train on: liked dialogues, disliked ones, and the pairs that they make.

`NAME.jsonl` holds liked dialogues as `messages` rows (`data=jsonl data.train_file=...`), `NAME.down.jsonl` what was
disliked, in fields that no data set has, and `NAME.pairs.jsonl` chosen and rejected answers to the same prompt, for
`+recipe=dpo`. One dialogue has one vote: a changed one replaces it, a repeated one adds nothing.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path

from phi_runner import locks
from phi_runner.chat.wire import Message
from phi_runner.data.check import check
from phi_runner.data.rows import Turn, Unusable
from phi_runner.errors import StoreProblem

Row = dict[str, object]


class Vote(StrEnum):
    """What a person thinks of an answer."""

    up = auto()
    down = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How many rows the files hold after a vote."""

    liked: int
    disliked: int
    pairs: int

    def told(self) -> str:
        """Return it for people."""
        return f"kept: liked {self.liked}, disliked {self.disliked}, pairs {self.pairs}"


def default_file(endpoint: str, *, outputs: Path) -> Path:
    """Return where the votes on an endpoint's answers are kept."""
    return outputs / "feedback" / f"{endpoint}.jsonl"


def not_trainable(prompt: list[Message], answer: str, *, whole: bool, vote: Vote) -> str:
    """Say why a dialogue cannot become a row to train on, or nothing; the data stage would leave it out."""
    if not answer.strip():
        return "an empty answer teaches nothing"
    if vote is Vote.up and not whole:
        return "an answer that is not complete would teach the model to stop in the middle: retry with more tokens"
    turns = [Turn(message["role"], message["content"]) for message in prompt]
    try:
        check([*turns, Turn("assistant", answer)])
    except Unusable as err:
        return f"no row to train on: {err}"
    return ""


def cast_vote(file: Path, *, prompt: list[Message], answer: str, vote: Vote | None, made: Mapping[str, object]) -> Kept:
    """Keep a vote on the answer to `prompt`, None takes it back; `made` says how the answer was made.

    Other pages and terminals may vote at the same time. Raises StoreProblem when the files cannot be written.
    """
    try:
        with locks.held(file.with_name(f".{file.name}.lock"), on_wait=lambda: None):
            return _cast(file, prompt, answer, vote, made)
    except OSError as err:
        raise StoreProblem(
            f"cannot write the votes to {file}: {err.strerror}; choose another place with chat.feedback_file=FILE"
        ) from err


def _cast(file: Path, prompt: list[Message], answer: str, vote: Vote | None, made: Mapping[str, object]) -> Kept:
    turn = {"role": "assistant", "content": answer}
    name = hashlib.sha256(json.dumps([*prompt, turn]).encode()).hexdigest()[:16]
    told: Row = {"id": name, "voted_at": round(time.time(), 3), **made}
    liked, disliked = (
        {key: row for key, row in _rows(place).items() if key != name} for place in (file, _disliked_file(file))
    )
    match vote:
        case Vote.up:
            liked[name] = {"messages": [*prompt, turn], "vote": vote, **told}
        case Vote.down:
            disliked[name] = {"asked": prompt, "disliked": turn, "vote": vote, **told}
        case None:
            pass
    pairs = _pairs(liked, disliked)
    for place, rows in ((file, liked), (_disliked_file(file), disliked), (_pairs_file(file), pairs)):
        _write(place, rows)
    return Kept(liked=len(liked), disliked=len(disliked), pairs=len(pairs))


def _disliked_file(file: Path) -> Path:
    return file.with_suffix(f".down{file.suffix}")


def _pairs_file(file: Path) -> Path:
    return file.with_suffix(f".pairs{file.suffix}")


def _pairs(liked: Mapping[str, Row], disliked: Mapping[str, Row]) -> dict[str, Row]:
    """Return every liked answer beside every disliked one to the same prompt."""
    found: dict[str, Row] = {}
    for good, like in liked.items():
        for bad, dislike in disliked.items():
            match like, dislike:
                case {"messages": [*prompt, chosen]}, {"asked": asked, "disliked": rejected} if prompt == asked:
                    name = f"{good}-{bad}"
                    found[name] = {"prompt": prompt, "chosen": [chosen], "rejected": [rejected], "id": name}
    return found


def _rows(file: Path) -> dict[str, Row]:
    """Return the rows of a file by id; a line that a person has spoiled keeps its place and its text."""
    found: dict[str, Row] = {}
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    for number, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found[str(row["id"])] = row
        except (ValueError, KeyError, TypeError):
            found[f"line {number}"] = {"_line": line}
    return found


def _write(file: Path, rows: Mapping[str, Row]) -> None:
    """Write the rows so that a reader, or a crash, sees all the old ones or all the new ones."""
    lines = [str(row["_line"]) if "_line" in row else json.dumps(row, ensure_ascii=False) for row in rows.values()]
    text = "".join(f"{line}\n" for line in lines)
    if not text and not file.exists():
        return
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
