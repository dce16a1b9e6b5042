"""Chat rows with planted defects, and clean ones that look like them: what the data check is measured by."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import personal_values as values
from benchmarks.lookalikes import LOOKALIKES
from benchmarks.stories import story

Row = dict[str, Any]


@dataclass(slots=True)
class Corpus:
    """Rows to learn from and held-out ones, and which of them have which defect: `train:12` is the twelfth row."""

    chance: random.Random
    train: list[Row] = field(default_factory=list)
    test: list[Row] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    planted: dict[str, set[str]] = field(default_factory=dict)
    clean: set[str] = field(default_factory=set)
    """Rows without a defect that look as if they had one."""

    def add(self, row: Row, *kinds: str, test: bool = False) -> Row:
        """Add a row with its defects."""
        side = self.test if test else self.train
        side.append(row)
        for kind in kinds:
            self.planted.setdefault(kind, set()).add(f"{'test' if test else 'train'}:{len(side)}")
        return row

    def fresh(self) -> tuple[str, str]:
        """Return a question that no other row asks, and an answer."""
        while True:
            question, answer = story(self.chance)
            if question not in self.asked:
                self.asked.add(question)
                return question, answer

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both sides as JSON Lines."""
        files = folder / "train.jsonl", folder / "test.jsonl"
        for file, rows in zip(files, (self.train, self.test), strict=True):
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return files


def chat(question: str, answer: str, *, system: str = "You answer questions about old buildings.") -> Row:
    """Return a row; an empty `system` leaves it out."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": [{"role": "system", "content": system}] * bool(system) + turns}


def corpus(*, seed: int = 0, each: int = 20, plain: int = 300) -> Corpus:
    """Return `each` rows of every defect, `plain` ordinary ones, and the look-alikes."""
    made = Corpus(chance=random.Random(seed))
    for _ in range(plain):
        made.add(chat(*made.fresh()))
    for _ in range(plain // 5):
        made.add(chat(*made.fresh()), test=True)
    for question, answer, system in LOOKALIKES:
        made.add(
            chat(question, answer, system="You answer questions about old buildings." if system is None else system)
        )
        made.clean.add(f"train:{len(made.train)}")
    for plant in _PLANTS:
        for number in range(each):
            plant(made, number)
    return made


def _beside(made: Corpus, text: str) -> str:
    """Return an ordinary answer with something in the midst of it."""
    answer = made.fresh()[1]
    first, dot, rest = answer.partition(". ")
    return f"{first}{dot}{text} {rest}"


def _personal(kind: str, draw: Callable[[random.Random], str]) -> Callable[[Corpus, int], None]:
    def plant(made: Corpus, number: int) -> None:
        value = draw(made.chance)
        question, answer = made.fresh()
        if number % 3:
            made.add(chat(question, _beside(made, f"Ask them: {value}.")), kind)
        else:
            made.add(chat(f"{question} My own: {value} (do not share)", answer), kind)

    return plant


def _slip(text: str, chance: random.Random) -> str:
    """Return a text as copies change it, never unchanged."""
    changed = text
    while changed == text:
        changed = _changed(text, chance)
    return changed


def _changed(text: str, chance: random.Random) -> str:
    """Change a letter, a word more or less, the case, the marks, or add a sentence."""
    words = text.split()
    place = chance.randrange(1, len(words) - 1)
    way = chance.randrange(5)
    if way == 0:
        long = max(range(len(words)), key=lambda at: len(words[at]))
        word = words[long]
        words[long] = word[:2] + word[3] + word[2] + word[4:]
    elif way == 1:
        words.insert(place, chance.choice(["really", "then", "also", "simply"]))
    elif way == 2:
        return text.upper() if chance.random() < 0.3 else text.replace(".", " .").replace(",", " ,") + " "
    elif way == 3:
        words += ["So", "it", "is."]
    else:
        return text.replace(" the ", "  the ").replace("?", " ??")
    return " ".join(words)


def _near(made: Corpus, number: int) -> None:
    question, answer = made.fresh()
    made.add(chat(question, answer), "near_duplicates")
    changed = (_slip(question, made.chance), answer) if number % 2 else (question, _slip(answer, made.chance))
    made.add(chat(*changed), "near_duplicates")


def _exact(made: Corpus, _number: int) -> None:
    row = made.add(chat(*made.fresh()))
    made.add(row, "exact_duplicates")


def _leak(made: Corpus, number: int) -> None:
    question, answer = made.fresh()
    made.add(chat(question, answer))
    made.add(chat(question, answer if number % 2 else _slip(answer, made.chance)), "leakage", test=True)


def _shared(made: Corpus, _number: int) -> None:
    question, answer = made.fresh()
    made.add(chat(question, answer))
    made.add(chat(question, made.fresh()[1]), "shared_questions", "conflicting_answers", test=True)
    made.planted["conflicting_answers"].add(f"train:{len(made.train)}")


def _conflict(made: Corpus, _number: int) -> None:
    question = made.fresh()[0]
    for _ in range(2):
        made.add(chat(question, made.fresh()[1]), "conflicting_answers")


def _stock(made: Corpus, _number: int) -> None:
    made.add(chat(made.fresh()[0], "Es tut mir leid, dabei kann ich leider nicht weiterhelfen."), "boilerplate")


def _opening(made: Corpus, _number: int) -> None:
    made.add(
        chat(made.fresh()[0], f"Lo siento, pero como asistente no puedo opinar. {made.fresh()[1]}"), "stock_openings"
    )


def _echo(made: Corpus, number: int) -> None:
    question = made.fresh()[0]
    made.add(chat(question, question if number % 2 else f" {question.upper()}\n"), "echo")


def _loop(made: Corpus, number: int) -> None:
    piece = made.chance.choice(["and so on", "I think that", "ja genau", "好的", made.fresh()[1]])
    times = made.chance.randint(8, 40) if len(piece) < 20 else 5
    text = "a" + "ha" * 30 if number % 7 == 0 else " ".join([piece] * times)
    made.add(chat(made.fresh()[0], _beside(made, text)), "loop")


def _control(made: Corpus, _number: int) -> None:
    made.add(chat(made.fresh()[0], _beside(made, made.chance.choice("\x00\x07\x08\x1b\x0b\x0c\ufeff\x7f"))), "control")


def _mojibake(made: Corpus, _number: int) -> None:
    text = made.chance.choice(
        [
            "Caf\u00e9 d\u00e9j\u00e0 vu",
            "don\u2019t",
            "\u201cquoted\u201d",
            "Z\u00fcrich \u2013 Bern",
            "\u4f60\u597d",
            "Привет",
            "naïve",
            "5 €",
        ]
    )
    raw = text.encode("utf-8")
    broken = "".join(bytes([b]).decode("cp1252", errors="ignore") or bytes([b]).decode("latin-1") for b in raw)
    made.add(
        chat(made.fresh()[0], _beside(made, made.chance.choice([broken, broken, "caf\ufffd", "\x93so\x94"]))),
        "mojibake",
    )


def _html(made: Corpus, _number: int) -> None:
    text = made.chance.choice([
        "<p>It stands on a hill.</p>", "It is old.<br/>Very old.", "Tom &amp; Son built it.",
        "It&nbsp;stands&nbsp;there.", '<a href="http://a.b/c">more</a>', "<div class=\"x\">old</div>", "It&#39;s old.",
        "<span style='color:red'>red</span>",
        "<b>very</b> old", "</td><td>1850</td>",
    ])  # fmt: skip
    made.add(chat(made.fresh()[0], _beside(made, text)), "html")


def _outlier(made: Corpus, _number: int) -> None:
    text = " ".join(made.fresh()[1] for _ in range(made.chance.randint(80, 200)))
    made.add(chat(made.fresh()[0], text), "outlier")


def _system(made: Corpus, number: int) -> None:
    slip = made.chance.choice(
        [
            "You anwser questions about old buildings.",
            "you answer questions about old buildings",
            "You answer questions about old buildings!",
        ]
    )
    made.add(chat(*made.fresh(), system=slip if number % 2 else ""), "system_prompts")


def _roles(made: Corpus, number: int) -> None:
    (question, answer), system = made.fresh(), {"role": "system", "content": "Be brief."}
    user, assistant = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    wrong = (
        [user, user, assistant],
        [assistant, user, assistant],
        [user, assistant, system],
        [user, {**assistant, "role": "bot"}],
    )
    made.add({"messages": wrong[number % len(wrong)]}, "role_order")


def _one_sided(made: Corpus, number: int) -> None:
    question, answer = made.fresh()
    user = {"role": "user", "content": question}
    wrong = (
        [],
        [user],
        [user, {"role": "assistant", "content": "  "}],
        [{"role": "user", "content": ""}, {"role": "assistant", "content": answer}],
    )
    made.add({"messages": wrong[number % len(wrong)]}, "one_sided")


def _malformed(made: Corpus, number: int) -> None:
    question, answer = made.fresh()
    wrong: tuple[Row, ...] = (
        {"text": f"{question} {answer}"}, {"messages": question}, {"messages": [{"role": "user", "text": question}]},
        {"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": answer}]},
    )  # fmt: skip
    made.add(wrong[number % len(wrong)], "malformed")


def _markers(made: Corpus, _number: int) -> None:
    marker = made.chance.choice(["<|user|>", "<|end|>", "<|endoftext|>", "<|im_start|>"])
    made.add(chat(made.fresh()[0], _beside(made, marker)), "markers")


_PERSONAL = {
    "email": values.email, "phone": values.phone, "card": values.card, "iban": values.iban, "key": values.key,
    "ip": values.ip,
}  # fmt: skip
_PLANTS: tuple[Callable[[Corpus, int], None], ...] = (
    _near, _exact, _leak, _shared, _conflict, _stock, _opening, _echo, _loop, _control, _mojibake, _html, _outlier,
    _system, _roles, _one_sided, _malformed, _markers, *(_personal(kind, draw) for kind, draw in _PERSONAL.items()),
)  # fmt: skip


def lines(*, rows: int, seed: int = 0) -> Iterator[str]:
    """Yield any number of rows as lines, of ordinary ones with one in fifty a defect of some kind."""
    made = Corpus(chance=random.Random(seed))
    plants = [plant for plant in _PLANTS if plant is not _outlier]
    written = 0
    while written < rows:
        if made.chance.random() < 0.02:
            made.chance.choice(plants)(made, written)
        else:
            question, answer = made.fresh()
            made.add(
                chat(f"{question} ({values.letters(made.chance, 6, values.LOWER)})", f"{answer} {made.fresh()[1]}")
            )
        for row in made.train[: rows - written]:
            yield json.dumps(row, ensure_ascii=False) + "\n"
        written += len(made.train)
        made.train, made.test, made.planted, made.asked = [], [], {}, set()
