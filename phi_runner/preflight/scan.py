"""One pass over the rows: what is wrong with each and what they have in common, without keeping their text."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from phi_runner.data.rows import columns
from phi_runner.preflight.facts import Facts, said
from phi_runner.preflight.finding import Tally
from phi_runner.preflight.near import Signatures
from phi_runner.preflight.reading import Reading
from phi_runner.preflight.repeats import repeats
from phi_runner.preflight.result import Scan
from phi_runner.preflight.shape import outliers, system_prompts
from phi_runner.preflight.single import look

DROPPED = ("malformed", "role_order", "one_sided", "markers")
SINGLE = ("email", "phone", "key", "card", "iban", "ip", "echo", "loop", "control", "mojibake", "html")
_PROGRESS_ROWS = 5_000


def scan(reading: Reading, *, folder: Path, most: int, on_rows: Callable[[int], None]) -> Scan:
    """Look at every row; `folder` takes what does not stay in memory, and `on_rows` hears how many are done."""
    facts, signatures = Facts(folder), Signatures(folder)
    tally, turns, rows = Tally(most), Counter[int](), 0
    try:
        for rows, seen in enumerate(reading, start=1):
            look(seen, tally=tally)
            if seen.row is not None:
                dialogue = columns(seen.row)["messages"]
                facts.add(dialogue, place=seen.place, digest=seen.digest, held_out=seen.held_out)
                signatures.add(said(dialogue))
                turns[sum(message["role"] != "system" for message in dialogue)] += 1
            if rows % _PROGRESS_ROWS == 0:
                on_rows(rows)
        signatures.finish()
        findings = [tally.finding(kind, of=rows) for kind in DROPPED]
        findings += [tally.finding(kind, of=len(facts)) for kind in SINGLE]
        findings += repeats(facts, signatures, most=most)
        findings += [outliers(facts, most=most), system_prompts(facts, most=most)]
        return Scan(
            rows=rows, usable=len(facts), held_out=sum(facts.held_out), formats=reading.formats, findings=findings,
            turns={str(count): number for count, number in sorted(turns.items())},
        )  # fmt: skip
    finally:
        signatures.close()
        facts.close()
