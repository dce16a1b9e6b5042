"""Chat rows with planted defects, and clean ones that look like them: what the data check is measured by."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lookalikes import LOOKALIKES
from phi_runner.preflight.numbers import luhn, mod97

Row = dict[str, Any]

_PLACES = (
    "Lisbon Oslo Nairobi Quito Hanoi Perth Malmo Cusco Tunis Riga Bergen Osaka Lagos Turin Cork Varna Salta Davao Jaipur "
    "Izmir Tartu Gdansk Porto Leeds Ghent Basel Graz Split Patras Bilbao"
).split()
_THINGS = (
    "bridge lighthouse library orchard tunnel market harbour museum theatre vineyard foundry station observatory mill "
    "cathedral reservoir garden archive dockyard brewery stadium quarry monastery glasshouse windmill aqueduct"
).split()
_PEOPLE = (
    "Ada Bruno Chiara Dmitri Elif Farah Goran Hana Ivo Jonas Keiko Lucia Mateo Nadia Omar Petra Quentin Rosa Sven Tomas"
).split()
_VERBS = "built painted sold restored measured flooded moved closed opened photographed mapped insured".split()
_REASONS = (
    "the river had changed its course|nobody could pay the guards|a storm took its roof|the council lost a wager|"
    "trains began to stop there|the old plans were found in a cellar|its stones were wanted elsewhere|"
    "a film was made in it|two guilds could not agree|the lime trees had grown too tall|an heir came home from sea|"
    "the price of copper fell|bees had moved into the tower|a mapmaker had drawn it twice"
).split("|")
_ENDS = (
    "The papers are kept in the town hall.|People still speak of it at weddings.|It took eleven winters.|"
    "A plaque beside the door says so.|The bill was never paid in full.|Children learn a rhyme about it.|"
    "Only the cellar is older.|Nobody has disproved that since.|The mayor keeps the key.|Visitors seldom notice it."
).split("|")
_ASKED = (
    "Why was the {thing} of {place} {verb} by {person}?|What made {person} have the {thing} in {place} {verb}?|"
    "Tell me how the {thing} near {place} came to be {verb}.|{person} {verb} a {thing} in {place}: for what reason?|"
    "I read that the {place} {thing} was {verb}. Is that so, and who was {person}?|"
    "Explain to a visitor of {place} why {person} once {verb} the {thing}."
).split("|")
_ANSWERED = (
    "{person} had it {verb} because {reason}. {end}|In {place} the {thing} was {verb} when {reason}. {end}|"
    "At the {thing} of {place} {person} saw no other way after {reason}. {end}|As {person} tells it, {reason}, and that was that. {end}|"
    "{place} had a {thing} and {reason}, so {person} did it. {end}"
).split("|")


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
            said = {name: self.chance.choice(words) for name, words in _WORDS.items()}
            question = self.chance.choice(_ASKED).format(**said)
            if question not in self.asked:
                self.asked.add(question)
                return question, self.chance.choice(_ANSWERED).format(**said)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both sides as JSON Lines."""
        files = folder / "train.jsonl", folder / "test.jsonl"
        for file, rows in zip(files, (self.train, self.test), strict=True):
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return files


_WORDS = {"thing": _THINGS, "place": _PLACES, "verb": _VERBS, "person": _PEOPLE, "reason": _REASONS, "end": _ENDS}


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


def _personal(kind: str, values: Callable[[random.Random], str]) -> Callable[[Corpus, int], None]:
    def plant(made: Corpus, number: int) -> None:
        value = values(made.chance)
        question, answer = made.fresh()
        if number % 3:
            made.add(chat(question, _beside(made, f"Ask them: {value}.")), kind)
        else:
            made.add(chat(f"{question} My own: {value} (do not share)", answer), kind)

    return plant


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(count))


def _email(chance: random.Random) -> str:
    name, host = chance.choice(_PEOPLE).lower(), chance.choice(_PLACES).lower()
    return f"{name}{chance.choice(['.', '_', '-', '+'])}{_digits(chance, 2)}@{host}-{chance.choice(['mail', 'post'])}.{chance.choice(['com', 'org', 'de', 'co.uk', 'io'])}"


def _phone(chance: random.Random) -> str:
    d = _digits
    nanp = f"{chance.randint(2, 9)}{d(chance, 2)}"
    exchange = f"{chance.randint(2, 9)}{d(chance, 2)}"
    return chance.choice([
        f"+49 {chance.randint(151, 179)} {d(chance, 7)}", f"+44 20 {d(chance, 4)} {d(chance, 4)}",
        f"({nanp}) {exchange}-{d(chance, 4)}", f"{nanp}-{exchange}-{d(chance, 4)}", f"+1 {nanp} {exchange} {d(chance, 4)}",
        f"030 {chance.randint(2, 9)}{d(chance, 6)}", f"0{chance.randint(1, 7)}{chance.randint(1, 9)} {d(chance, 2)} {d(chance, 2)} {d(chance, 2)} {d(chance, 2)}",
        f"0{chance.randint(151, 179)}/{d(chance, 7)}", f"+81-3-{d(chance, 4)}-{d(chance, 4)}", f"+8613{d(chance, 9)}",
    ])  # fmt: skip


def _card(chance: random.Random) -> str:
    start, length = chance.choice([("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16)])
    body = start + _digits(chance, length - len(start) - 1)
    number = next(body + last for last in "0123456789" if luhn(body + last))
    if length == 15:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    mark = chance.choice([" ", "-", ""])
    return mark.join(number[place : place + 4] for place in range(0, 16, 4))


def _iban(chance: random.Random) -> str:
    country, length = chance.choice([("DE", 22), ("FR", 27), ("NL", 18), ("ES", 24), ("GB", 22)])
    body = {"NL": "ABNA", "GB": "NWBK"}.get(country, "")
    body += _digits(chance, length - 4 - len(body))
    account = f"{country}{98 - mod97(f'{country}00{body}'):02}{body}"
    return " ".join(account[place : place + 4] for place in range(0, length, 4)) if chance.random() < 0.5 else account


def _letters(chance: random.Random, count: int, among: str) -> str:
    return "".join(chance.choice(among) for _ in range(count))


_LOWER, _UPPER = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALL = _LOWER + _UPPER + "0123456789"


def _key(chance: random.Random) -> str:
    return chance.choice([
        f"AKIA{_letters(chance, 16, _UPPER + '234567')}", f"ghp_{_letters(chance, 36, _ALL)}",
        f"sk-proj-{_letters(chance, 40, _ALL)}", f"hf_{_letters(chance, 34, _LOWER + _UPPER)}",
        f"xoxb-{_digits(chance, 12)}-{_letters(chance, 24, _ALL)}", f"AIza{_letters(chance, 35, _ALL)}",
        f"eyJ{_letters(chance, 20, _ALL)}.eyJ{_letters(chance, 40, _ALL)}.{_letters(chance, 43, _ALL)}",
        f"api_key = \"{_letters(chance, 32, _ALL)}\"", f"password: {_letters(chance, 20, _ALL)}",
        f"postgres://admin:{_letters(chance, 12, _ALL)}@db.intern.net/main", "-----BEGIN RSA PRIVATE KEY-----",
        _letters(chance, 40, _ALL),
    ])  # fmt: skip


def _ip(chance: random.Random) -> str:
    if chance.random() < 0.25:
        return "2a02:" + ":".join(f"{chance.randint(4096, 65535):x}" for _ in range(7))
    return f"{chance.choice([23, 46, 81, 93, 145, 178, 203])}.{chance.randint(20, 250)}.{chance.randint(20, 250)}.{chance.randint(10, 250)}"


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
        "<p>It stands on a hill.</p>", "It is old.<br/>Very old.", "Tom &amp; Son built it.", "It&nbsp;stands&nbsp;there.",
        '<a href="http://a.b/c">more</a>', "<div class=\"x\">old</div>", "It&#39;s old.", "<span style='color:red'>red</span>",
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


_PLANTS: tuple[Callable[[Corpus, int], None], ...] = (
    _near, _exact, _leak, _shared, _conflict, _stock, _opening, _echo, _loop, _control, _mojibake, _html, _outlier,
    _system, _roles, _one_sided, _malformed, _markers, _personal("email", _email), _personal("phone", _phone),
    _personal("card", _card), _personal("iban", _iban), _personal("key", _key), _personal("ip", _ip),
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
            made.add(chat(f"{question} ({_letters(made.chance, 6, _LOWER)})", f"{answer} {made.fresh()[1]}"))
        for row in made.train[: rows - written]:
            yield json.dumps(row, ensure_ascii=False) + "\n"
        written += len(made.train)
        made.train, made.test, made.planted, made.asked = [], [], {}, set()
