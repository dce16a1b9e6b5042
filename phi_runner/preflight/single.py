"""What is wrong with a row by itself."""

from phi_runner.data.rows import Dialogue, Row
from phi_runner.preflight import damage
from phi_runner.preflight.answers import echoes, looping
from phi_runner.preflight.finding import Tally
from phi_runner.preflight.personal import personal
from phi_runner.preflight.reading import Seen

_ORDER = ("take turns", "does not speak first", "not the only and first", "role ", "the last turn is not")
_EMPTY = ("no assistant turn", "no turns", "an empty ")
_CONTROL = ("chat marker", "lone surrogate")


def reason(why: str) -> str:
    """Return the finding that belongs to the data stage's reason to leave a row out."""
    for kind, said in (("one_sided", _EMPTY), ("role_order", _ORDER), ("markers", _CONTROL)):
        if any(words in why for words in said):
            return kind
    return "malformed"


def look(seen: Seen, *, tally: Tally) -> None:
    """Count all that is wrong with a row."""
    if seen.row is None:
        tally.add(reason(seen.why), place=seen.place, text=f"{seen.why}: {seen.fields}")
        return
    text = "\n".join(_texts(seen.row))
    for kind, spans in personal(text).items():
        tally.add(kind, place=seen.place, text=text, at=spans[0][0])
    for kind, find in (("control", damage.control), ("mojibake", damage.mojibake), ("html", damage.html)):
        found = find(text)
        if found:
            tally.add(kind, place=seen.place, text=text, at=found.start())
    for dialogue in _dialogues(seen.row):
        if _about_answers(dialogue, place=seen.place, tally=tally):
            break


def _about_answers(dialogue: Dialogue, *, place: str, tally: Tally) -> bool:
    echo = echoes(dialogue)
    if echo:
        tally.add("echo", place=place, text=echo)
    loops = [m["content"] for m in dialogue if m["role"] == "assistant" and looping(m["content"])]
    if loops:
        tally.add("loop", place=place, text=loops[0])
    return bool(echo or loops)


def _dialogues(row: Row) -> list[Dialogue]:
    """Return the dialogue, or the two of a pair."""
    return [row] if isinstance(row, list) else [row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]]


def _texts(row: Row) -> list[str]:
    turns = row if isinstance(row, list) else [*row["prompt"], *row["chosen"], *row["rejected"]]
    return [turn["content"] for turn in turns]
