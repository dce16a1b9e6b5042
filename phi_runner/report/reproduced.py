"""Whether a run that was repeated came out the same; if not, at which stage first, and because of what."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.pages.pieces import Tone
from phi_runner.report import compare, deciding
from phi_runner.report.run_folder import RunFolder, read_json, rows, table, text

REPRODUCED_FILE = "reproduced.json"
SAME, DIFFERS = "same", "differs"
_MOST = 2
"""Reasons that fit into one line."""
_MOST_FILES = 3
_LARGEST_ROWS = 64 * 2**20
_LONGEST_ROW = 120
_ROWS = ("train_data.jsonl", "test_data.jsonl")
_WORDS = {"config": "setting", "bytes": "local file", "library": "library", "code": "code"}
_ORDER = ("config", "bytes", "library", "code")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageVerdict:
    """One stage of both runs."""

    stage: str
    same: bool
    files: int
    """Files that were compared."""
    what: tuple[str, ...] = ()
    """What came out differently."""
    why: tuple[str, ...] = ()
    """What may be the reason, the likeliest first."""


def parts_changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Say what decides a result differently now, the user's own things first; results that it reads are left out."""
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    own = [name for name in changed if name.partition(":")[0] in _ORDER]
    return [_part(name, before.get(name), after.get(name)) for name in sorted(own, key=_rank)]


def _rank(name: str) -> tuple[int, str]:
    return _ORDER.index(name.partition(":")[0]), name


def _part(name: str, before: str | None, after: str | None) -> str:
    kind, _, rest = name.partition(":")
    if kind in ("config", "library"):
        return f"{_WORDS[kind]} {rest} {before if before else '(unset)'} -> {after if after else '(unset)'}"
    happened = "changed" if before and after else "is new" if after else "is gone"
    return f"{_WORDS[kind]} {rest} {happened}"


def surroundings_changed(before: RunFolder, now: RunFolder) -> list[str]:
    """Say what else is other than it was: pins, threads, the machine."""
    if not before.versions:
        return []
    found = compare.rows_of([compare.made_with(before), compare.made_with(now)])
    first = ("threads", "cores", "processor", "devices", "python", "phi_runner", "checkout", "system")
    other = [row for row in found if row.differs and row.name != "memory_gb"]
    other.sort(key=lambda row: first.index(row.name) if row.name in first else len(first))
    return [f"{row.name} {row.values[0] or '(none)'} -> {row.values[1] or '(none)'}" for row in other]


def verdicts(
    before: RunFolder, after: RunFolder, *, stages: Sequence[str], parts: Mapping[str, Any]
) -> list[StageVerdict]:
    """Compare the stages' results, file by file; `parts` is what decides each stage's key now."""
    return [_verdict(before, after, stage=stage, parts=table(parts.get(stage))) for stage in stages]


def _kept(run: RunFolder, stage: str) -> dict[str, Any]:
    return table(table(run.versions.get("stages")).get(stage))


def _verdict(before: RunFolder, after: RunFolder, *, stage: str, parts: dict[str, str]) -> StageVerdict:
    old, new = _kept(before, stage), _kept(after, stage)
    why = [*_why(before, after, old=table(old.get("parts")), new=table(new.get("parts")) or parts)]
    if not new:
        view = after.stage(stage)
        told = f"it {view.status}: {view.why}" if view and view.why else "it left no result"
        why.sort(key=lambda line: not any(word in told for word in line.split()[:2]))  # a failure may name its reason
        return StageVerdict(stage=stage, same=False, files=0, what=(told,), why=tuple(why))
    files = deciding.other_files(table(old.get("files")), table(new.get("files")))
    figures = deciding.other_figures(table(old.get("result")), table(new.get("result")))
    count = len(table(new.get("files")))
    if not files and not figures:
        return StageVerdict(stage=stage, same=True, files=count)
    row = [*changed_rows(before, after)] if stage == "data" else []
    what = (
        *figures[:_MOST_FILES],
        *(f"{name} has other bytes" for name in files[:_MOST_FILES] if name != "artifact.json"),
    )
    return StageVerdict(stage=stage, same=False, files=count, what=what, why=(*row, *why))


def _why(before: RunFolder, after: RunFolder, *, old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    yield from parts_changed(old, new) if new else []
    yield from _choices(before, after)
    yield from surroundings_changed(before, after)


def _choices(before: RunFolder, after: RunFolder) -> Iterator[str]:
    """Say what a training has chosen by itself differently: its memory decides over the size of its steps' parts."""
    old, new = (table(table(run.of_stage("train", "measured.json")).get("settings")) for run in (before, after))
    for row in compare.rows_of([old, new]) if old and new else []:
        if row.differs:
            yield f"training chose {row.name} {row.values[0]} -> {row.values[1]}"


def changed_rows(before: RunFolder, after: RunFolder) -> Iterator[str]:
    """Name the first row that has changed, while both results are still there; held-out rows count as rows too."""
    old, new = before.result("data"), after.result("data")
    was, now = _lines(old), _lines(new)
    if was is None or now is None:
        return
    gone, come = [line for line in was if line not in now], [line for line in now if line not in was]
    if gone or come:
        counted = f"{len(gone)} gone, {len(come)} new"
        yield f"rows of the data changed ({counted}): {_row(gone)} -> {_row(come)}"
    else:
        yield "the same rows of the data are divided or ordered otherwise"


def _lines(folder: Path | None) -> dict[str, None] | None:
    """Return all rows of a data result; None where they are gone or too many."""
    found: dict[str, None] = {}
    for file in (folder / name for name in _ROWS) if folder else ():
        try:
            if file.stat().st_size > _LARGEST_ROWS:
                return None
            found |= dict.fromkeys(file.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError):
            return None
    return found if folder else None


def _row(lines: Sequence[str]) -> str:
    """Return the first of some rows as `question / answer`."""
    if not lines:
        return "(none)"
    try:
        said = rows(table(json.loads(lines[0])).get("messages"))
    except ValueError:
        said = []
    shown = " / ".join(text(message, "content") for message in said) or lines[0]
    return f"'{shown if len(shown) <= _LONGEST_ROW else shown[: _LONGEST_ROW - 1] + '…'}'"


def told(found: Sequence[StageVerdict]) -> str:
    """Return the whole verdict in one line: `same`, or `differs at stage X because Y`."""
    other = next((one for one in found if not one.same), None)
    if other is None:
        return SAME
    what = "; ".join(other.what[:1])
    why = "; ".join(other.why[:_MOST])
    more = f"; and {len(other.why) - _MOST} more" if len(other.why) > _MOST else ""
    reason = f"{why}{more}" if why else "nothing that is recorded has changed, so it does not come out the same here"
    return f"{DIFFERS} at stage {other.stage} because {reason} ({what})"


def as_json(found: Sequence[StageVerdict], *, of: Path, changed: Sequence[str], left: Sequence[str]) -> dict[str, Any]:
    """Return what `reproduced.json` holds."""
    return {
        "run": str(of), "verdict": told(found), "same": all(one.same for one in found), "changed": list(changed),
        "not_repeated": list(left), "stages": [asdict(one) for one in found],
    }  # fmt: skip


def section(run: RunFolder) -> Section | None:
    """Return what a run of the stage `reproduce` has found."""
    found = table(read_json(run.folder / REPRODUCED_FILE))
    if not found:
        return None
    same = found.get("same") is True
    shown: list[list[pieces.TableCell]] = []
    for one in rows(found.get("stages")):
        badge = pieces.badge(SAME, tone=Tone.good) if one.get("same") else pieces.badge(DIFFERS, tone=Tone.bad)
        files = one.get("files")
        shown.append(
            [text(one, "stage"), badge, files if isinstance(files, int) else None, _all(one, "what"), _all(one, "why")]
        )
    changed = found.get("changed")
    body = pieces.join(
        pieces.notice(text(found, "verdict"), tone=Tone.good if same else Tone.bad),
        pieces.paragraph(Markup("The run that was repeated: {}").format(pieces.word(text(found, "run")))),
        pieces.table(["stage", "", "files compared", "what differs", "why"], shown, stack=True),
        pieces.join(pieces.heading("Other than then"), pieces.bullets(map(str, changed)))
        if isinstance(changed, list) and changed
        else None,
    )
    return Section(id="reproduced", title="Reproduced", body=body)


def _all(values: dict[str, Any], name: str) -> str:
    found = values.get(name)
    return "; ".join(map(str, found)) if isinstance(found, list) else ""
