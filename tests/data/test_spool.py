"""Rows on disk: what is read is what was written, from any place, and nothing stays behind."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from phi_runner.data.rows import Message, Row
from phi_runner.data.split import hold_out, keep_apart
from phi_runner.data.spool import Picked, Spool

_TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


def _row(text: str) -> Row:
    return [Message(role="user", content=text), Message(role="assistant", content="a")]


def _spool(rows: list[Row], folder: Path) -> Spool:
    spool = Spool(folder / "rows")
    for row in rows:
        spool.append(row)
    return spool


@given(texts=st.lists(_TEXTS, min_size=3, max_size=20, unique=True))
def test_rows_come_back_from_any_place(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(text) for text in texts]
        spool = _spool(rows, Path(folder))
        assert list(spool) == rows == spool[:]
        assert spool[-1] == rows[-1]
        assert spool[1:3] == rows[1:3]
        picked = Picked(spool, [2, 0])
        assert list(picked) == picked[:] == [rows[2], rows[0]]
        assert not list(Path(folder).iterdir())
        spool.close()


def test_rows_on_disk_are_divided_as_those_in_memory(tmp_path: Path) -> None:
    learned, other = [_row(str(n % 20)) for n in range(30)], [_row(str(n)) for n in range(15, 30)]
    spools = _spool(learned, tmp_path), _spool(other, tmp_path)
    for wanted, found in (
        (hold_out(learned, fraction=0.2, seed=3), hold_out(spools[0], fraction=0.2, seed=3)),
        (keep_apart(learned, test=other, seed=3), keep_apart(spools[0], test=spools[1], seed=3)),
    ):
        assert isinstance(found.train, Picked)
        assert (list(found.train), list(found.test)) == (wanted.train, wanted.test)
        assert (found.duplicates, found.leaked) == (wanted.duplicates, wanted.leaked)
    for spool in spools:
        spool.close()
