"""The check as one page: the verdict first, then what was found with rows to look at, then the numbers."""

from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup

from phi_runner.pages import pictures, pieces
from phi_runner.pages.frame import Section
from phi_runner.pages.frame import page as framed
from phi_runner.pages.pieces import Cell, Text, Tone
from phi_runner.plots import data as plots
from phi_runner.preflight.judge import STEPS, Judged, Status, line
from phi_runner.preflight.kinds import KINDS, Part
from phi_runner.preflight.result import TokenCount
from phi_runner.preflight.told import Checked, summary

_BARS = 8
_TONES = {Status.fine: Tone.good, Status.noted: Tone.plain, Status.warning: Tone.warn, Status.refused: Tone.bad}
_VERDICTS = {
    Status.fine: "nothing was found", Status.noted: "nothing that is worth a warning was found",
    Status.warning: "the rows can be trained on; look at the warnings first",
    Status.refused: "refused: the run ended here",
}  # fmt: skip


def page(checked: Checked) -> str:
    """Return the whole document."""
    verdict = pieces.notice(f"{_VERDICTS[checked.status]}: {summary(checked)}", tone=_TONES[checked.status])
    found = [one for one in checked.found if one.finding.count]
    sections = [Section(id="findings", title="What was found", body=_overview(checked, found))]
    sections += _parts(found)
    sections.append(Section(id="rows", title="Rows", body=_rows(checked)))
    if checked.tokens:
        sections.append(Section(id="tokens", title="Lengths in tokens", body=_tokens(checked, checked.tokens)))
    source = f"{checked.dataset.source}, format {checked.dataset.format}"
    return framed("Data check", sections=sections, subtitle=source, lead=verdict)


def _overview(checked: Checked, found: list[Judged]) -> Markup:
    clean = [KINDS[one.finding.kind].title for one in checked.found if not one.finding.count]
    table = pieces.table(("", "finding", "how many", "share", "bounds"), map(_row, found), stack=True)
    shown = [one for one in found if one.finding.of > 1 and KINDS[one.finding.kind].part is not Part.tokens]
    shown.sort(key=lambda one: -one.finding.share)
    shares = [(KINDS[one.finding.kind].title, one.finding.share) for one in shown[:_BARS]]
    picture = pictures.svg(plots.bars(shares), caption="The largest shares of rows") if shares else None
    none = pieces.paragraph(f"Looked for and not found: {', '.join(clean)}.", note=True) if clean else None
    return pieces.join(table if found else None, pictures.plots(picture) if picture else None, none)


def _row(one: Judged) -> tuple[Cell, ...]:
    finding, kind = one.finding, KINDS[one.finding.kind]
    title = pieces.link(kind.title, to=f"#{_anchor(kind.part.name)}")
    if finding.kind == STEPS:
        return _badge(one), title, None, None, None
    bounds = [
        f"{does} {_from(share)}"
        for does, share in (("warns", one.bound.warn), ("refuses", one.bound.refuse))
        if share is not None
    ]
    return (
        _badge(one),
        title,
        f"{finding.count:,} of {finding.of:,} {kind.of}",
        f"{finding.share:.2%}",
        ", ".join(bounds),
    )


def _from(share: float) -> str:
    return f"from {share:.0%}" if share else "from the first"


def _badge(one: Judged) -> Markup:
    return pieces.badge(one.status.value, tone=_TONES[one.status])


def _anchor(name: str) -> str:
    return f"part-{name}"


def _parts(found: list[Judged]) -> Iterator[Section]:
    for part, items in groupby(found, key=lambda one: KINDS[one.finding.kind].part):
        body = pieces.join(*(_details(one) for one in items))
        yield Section(id=_anchor(part.name), title=part.value, body=body)


def _details(one: Judged) -> Markup:
    finding, kind = one.finding, KINDS[one.finding.kind]
    paired = any(example.other_place for example in finding.examples)
    rows = [
        (_place(example.place), Text(example.text))
        + ((_place(example.other_place), Text(example.other)) if paired else ())
        for example in finding.examples
    ]
    columns = ("row", "says", "other row", "says") if paired else ("row", "says")
    table = pieces.table(columns, rows, stack=True) if rows else None
    if table and one.status is Status.noted:
        table = pieces.folded("Some of these rows", body=table)
    return pieces.join(
        pieces.heading(kind.title),
        pieces.paragraph(pieces.join(_badge(one), line(one).removeprefix(f"{kind.title}: "))),
        pieces.paragraph(f"What to do: {kind.advice}."),
        table,
    )


def _place(place: str) -> str:
    """Return a row's place without the folder, which the page's head names."""
    return place.rpartition("/")[2]


def _rows(checked: Checked) -> Markup:
    scan, report = checked.scan, checked.read()
    pairs = [
        ("looked at", f"{scan.rows:,} rows"), ("can be used", f"{scan.usable:,}"),
        ("to learn from", f"{checked.dataset.train_rows:,}" if checked.dataset.train_rows else "read while training"),
        ("held out", f"{checked.dataset.test_rows:,}"),
        *((f"format of {_place(name)}", why) for name, why in scan.formats.items()),
    ]  # fmt: skip
    reasons = [
        (_place(side["source"]), reason, dropped["count"], _place(dropped["first"]))
        for side in report["sources"].values() for reason, dropped in side["dropped"].items()
    ]  # fmt: skip
    repairs = [
        f"{repair}: {count:,} rows" for side in report["sources"].values() for repair, count in side["repaired"].items()
    ]
    turns = pieces.table(("turns", "dialogues"), [(int(count), number) for count, number in scan.turns.items()])
    return pieces.join(
        pieces.pairs(pairs),
        pieces.heading("Left out") if reasons else None,
        pieces.table(("source", "why", "rows", "the first"), reasons, stack=True) if reasons else None,
        pieces.heading("Repaired") if repairs else None,
        pieces.bullets(repairs) if repairs else None,
        pieces.folded("Turns of the dialogues", body=turns),
    )


def _tokens(checked: Checked, tokens: TokenCount) -> Markup:
    limit = checked.config.train.max_length
    parts = [
        ("learnt", tokens.kept_taught), ("read only", tokens.kept - tokens.kept_taught),
        ("cut off", tokens.whole - tokens.kept),
    ]  # fmt: skip
    figures = [pictures.svg(plots.parts_of(parts, unit="tokens"), caption="What becomes of the tokens")]
    spreads = [("dialogue", tokens.dialogues, limit), ("answer", tokens.answers, 0)]
    spreads = [item for item in spreads if item[1]["counts"]]
    for name, spread, mark in spreads:
        drawn = plots.histogram(spread["edges"], spread["counts"], unit=f"tokens per {name}", limit=mark)
        figures.append(pictures.svg(drawn, caption=f"How long the {name}s are"))
    levels = [(name, *spread["percentiles"].values()) for name, spread, _mark in spreads]
    heads = ("tokens per", *(f"{level} %" for level in spreads[0][1]["percentiles"])) if spreads else ()
    table = pieces.table(heads, levels, caption="So many percent have at most so many tokens") if spreads else None
    return pieces.join(_token_facts(checked, tokens), pictures.plots(*figures), table)


def _token_facts(checked: Checked, tokens: TokenCount) -> Markup:
    train, steps = checked.config.train, tokens.steps(checked.config)
    a_step = train.batch_size * train.accumulation_steps
    facts = [
        ("tokenizer", tokens.tokenizer),
        ("rows counted", f"{tokens.counted:,}" + (f" of {tokens.rows:,}" if tokens.rows else "")),
        ("dialogues cut", f"{tokens.shortened:,} by train.max_length={train.max_length}"),
        ("dialogues dropped", f"{tokens.dropped:,}"),
        ("rows after packing" if train.packing else "rows", f"{tokens.packed:,}"),
        (
            "optimiser steps",
            f"{steps:,} ({_times(train.epochs)} over the rows, {a_step} a step)" if steps else "not known",
        ),
    ]
    return pieces.pairs(facts)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
