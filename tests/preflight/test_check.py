"""The check as the data stage runs it: what it leaves, says, remembers and refuses."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from phi_runner import artifacts
from phi_runner.artifacts import Dataset
from phi_runner.config.check import check
from phi_runner.config.schema import Bound, FileData, RunConfig, SampleData, StageName
from phi_runner.errors import ConfigProblem, DataProblem
from phi_runner.stages import data as stage
from phi_runner.stages.stage import Inputs
from tests.data.chats import ASSISTANT, USER, chat, messages, write_jsonl
from tests.runs import Heard, config, rundir

_MAIL = "ada@riga-post.org"


def _checked(run: RunConfig, folder: Path, *, key: str = "k" * 64) -> tuple[dict[str, Any], Heard]:
    """Perform the data stage and its check, and return what is left and what was said."""
    made, _heard = rundir(folder / "result", outputs=folder, stage="data", key=key)
    dataset = stage.run(run, Inputs({}, {}), made)
    artifacts.save(dataset)
    return _inspected(run, dataset, folder, key=key)


def _inspected(run: RunConfig, dataset: Dataset, folder: Path, *, key: str = "k" * 64) -> tuple[dict[str, Any], Heard]:
    where, heard = rundir(folder / "run", outputs=folder, stage="data", key=key)
    stage.inspect(run, dataset, where)
    found: dict[str, Any] = json.loads((where.folder / "data_check.json").read_text(encoding="utf-8"))
    return found, heard


def _run(folder: Path, rows: list[object], **changes: Any) -> RunConfig:
    file = write_jsonl(folder / "rows.jsonl", rows)
    return config(StageName.data, outputs=folder, data=FileData(train_file=str(file), **changes))


def _found(check: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(item for item in check["findings"] if item["kind"] == kind)


def test_the_sample_has_nothing_to_warn_of_and_is_checked_without_torch(tmp_path: Path) -> None:
    before = set(sys.modules)
    run = config(StageName.data, outputs=tmp_path, data=SampleData())
    run.train.max_length = 2048
    found, heard = _checked(run, tmp_path)
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not {"torch", "transformers", "matplotlib", "datasets"} & new
    assert not [event for event in heard.events if event.kind == "warning"]
    assert found["rows"]["looked_at"] == 347
    assert found["formats"]["sample train"] == "messages: it is the shipped sample"


def test_what_is_found_is_counted_shown_and_masked(tmp_path: Path) -> None:
    rows = [chat(number) for number in range(60)]
    rows[7] = messages((USER, "Who is <b>Ada</b> & co?"), (ASSISTANT, f"Write to {_MAIL}.<script>alert(1)</script>"))
    found, heard = _checked(_run(tmp_path, list(rows)), tmp_path)
    mail = _found(found, "email")
    assert (mail["count"], mail["of"], mail["level"]) == (1, 60, "warning")
    assert mail["examples"][0]["place"].endswith("rows.jsonl:8 (row 8)")
    page = (tmp_path / "run" / "data_check.html").read_text(encoding="utf-8")
    assert _MAIL not in page + json.dumps(found) + heard.text()
    assert "<script>alert" not in page
    assert "&lt;b&gt;Ada" in page
    assert "e-mail addresses: 1 of 60 rows (1.7%)" in heard.text()


def test_every_link_of_the_page_leads_somewhere(tmp_path: Path) -> None:
    rows = [messages((USER, "Who was it, and when?"), (ASSISTANT, f"It was {_MAIL} {n}.")) for n in range(40)]
    _checked(_run(tmp_path, list(rows)), tmp_path)
    page = (tmp_path / "run" / "data_check.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))
    assert not re.findall(r'(?:src|href)="http', page)


def test_a_check_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(number) for number in range(6_000)])
    made, _heard = rundir(tmp_path / "result", outputs=tmp_path, stage="data")
    artifacts.save(stage.run(run, Inputs({}, {}), made))
    killed = subprocess.Popen([sys.executable, "-m", "tests.preflight.endless", str(tmp_path)], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"half way\n"
    killed.kill()
    killed.communicate()
    found, _told = _inspected(run, _dataset(tmp_path), tmp_path)
    assert found["rows"]["looked_at"] == 6_000
    left = [path.name for path in (tmp_path / "cache" / "preflight").iterdir()]
    assert all(name.endswith((".json", ".lock")) for name in left)


def test_rows_that_were_left_out_are_shown_with_the_reason(tmp_path: Path) -> None:
    rows = [chat(number) for number in range(30)] + [messages((USER, "Anybody?")), {"text": "?"}]
    found, _heard = _checked(_run(tmp_path, list(rows)), tmp_path)
    assert _found(found, "one_sided")["count"] == 1
    assert "no assistant turn" in _found(found, "one_sided")["examples"][0]["text"]
    assert _found(found, "malformed")["examples"][0]["place"].endswith("(row 32)")
    assert found["read"]["sources"]["train"]["usable"] == 30


def test_a_bound_that_was_typed_ends_the_run_in_one_line(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(1), chat(2), messages((USER, "Who?"), (ASSISTANT, _MAIL))])
    run.preflight.email = Bound(refuse=0.01)
    with pytest.raises(DataProblem) as caught:
        _checked(run, tmp_path)
    said = str(caught.value)
    assert "e-mail addresses: 1 of 3 rows (33.3%)" in said
    assert "type preflight.email.refuse=null" in said
    assert "\n" not in said
    assert json.loads((tmp_path / "run" / "data_check.json").read_text())["level"] == "refused"


def test_nonsense_is_refused_by_default_but_not_in_a_handful_of_rows(tmp_path: Path) -> None:
    def echoes(count: int) -> RunConfig:
        asked = [f"What is number {number}?" for number in range(count)]
        return _run(tmp_path, [messages((USER, question), (ASSISTANT, question)) for question in asked])

    _checked(echoes(5), tmp_path, key="a" * 64)
    with pytest.raises(DataProblem, match="the question again as the answer"):
        _checked(echoes(40), tmp_path, key="b" * 64)


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(1), chat(2)])
    run.preflight.enabled = False
    made, _heard = rundir(tmp_path / "result", outputs=tmp_path, stage="data")
    stage.inspect(run, stage.run(run, Inputs({}, {}), made), made)
    assert not (made.folder / "data_check.json").exists()


def test_a_second_check_reads_what_the_first_has_found(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(number) for number in range(30)])
    first, _heard = _checked(run, tmp_path)
    kept = {file: file.read_bytes() for file in (tmp_path / "cache" / "preflight").glob("*.json")}
    (tmp_path / "rows.jsonl").unlink()  # nothing is read again
    dataset = _dataset(tmp_path)
    assert _inspected(run, dataset, tmp_path)[0] == first
    run.preflight.conflicting_answers = Bound(warn=0.5)  # bounds are judged anew, rows are not
    _inspected(run, dataset, tmp_path)
    assert {file: file.read_bytes() for file in kept} == kept


def test_a_cache_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(number) for number in range(30)])
    first, _heard = _checked(run, tmp_path)
    for file in (tmp_path / "cache" / "preflight").glob("*.json"):
        file.write_text(file.read_text()[:40])
    assert _inspected(run, _dataset(tmp_path), tmp_path)[0] == first
    left = [path.name for path in (tmp_path / "cache" / "preflight").iterdir()]
    assert all(name.endswith((".json", ".lock")) for name in left)


def test_two_at_once_leave_the_same(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(number) for number in range(200)])
    _checked(run, tmp_path, key="z" * 64)
    dataset = _dataset(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: _inspected(run, dataset, tmp_path / name)[0], ("one", "two")))
    assert both[0] == both[1]


def test_pairs_and_both_of_their_answers_are_looked_at(tmp_path: Path) -> None:
    rows: list[object] = [{"prompt": f"Ask {n}?", "chosen": f"Yes {n}.", "rejected": f"No {n}."} for n in range(30)]
    rows[3] = {"prompt": "Ask 3?", "chosen": "Yes 3.", "rejected": f"Ask {_MAIL}."}
    found, _heard = _checked(_run(tmp_path, rows), tmp_path)
    assert _found(found, "email")["count"] == 1
    assert found["format"] == "preference"


def test_a_stream_is_looked_at_too(tmp_path: Path) -> None:
    rows = [chat(number) for number in range(100)]
    rows[50] = messages((USER, "Who?"), (ASSISTANT, _MAIL))
    found, _heard = _checked(_run(tmp_path, list(rows), stream=True, stream_eval_rows=10), tmp_path)
    assert found["rows"]["looked_at"] == 100
    assert found["rows"]["held_out"] == 10
    assert _found(found, "email")["count"] == 1


def test_only_so_many_rows_are_looked_at(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(number) for number in range(100)])
    run.preflight.rows = 40
    assert _checked(run, tmp_path)[0]["rows"]["looked_at"] == 40


def test_ten_rows_pack_to_almost_nothing_and_that_is_said(tmp_path: Path) -> None:
    run = _run(tmp_path, [chat(number) for number in range(10)])
    run.train.packing, run.train.epochs = True, 1
    _check, heard = _checked(run, tmp_path)
    assert "almost no optimiser steps: 8 dialogues pack to 1 rows" in heard.text()


def test_leaks_are_found_across_two_files(tmp_path: Path) -> None:
    rows = [chat(number) for number in range(40)]
    long = "The bridge of Riga was built by two brothers because the river had changed its course"
    rows[5] = messages((USER, "Who built the bridge of Riga, and why?"), (ASSISTANT, f"{long}."))
    test = [chat(100), messages((USER, "Who built the bridge of Riga, and why?"), (ASSISTANT, f"{long}, then."))]
    run = _run(tmp_path, list(rows), eval_file=str(write_jsonl(tmp_path / "test.jsonl", test)))
    found, _heard = _checked(run, tmp_path)
    leak = _found(found, "leakage")
    assert (leak["count"], leak["of"]) == (1, 2)
    assert leak["examples"][0]["place"].endswith("rows.jsonl:6 (row 6)")
    assert leak["examples"][0]["other_place"].endswith("test.jsonl:2 (row 2)")


@pytest.mark.parametrize(("name", "value"), [("leakage", Bound(warn=1.5)), ("rows", 0), ("email", Bound(refuse=-0.1))])
def test_bounds_are_shares(tmp_path: Path, name: str, value: object) -> None:
    run = _run(tmp_path, [chat(1), chat(2)])
    setattr(run.preflight, name, value)
    with pytest.raises(ConfigProblem, match=rf"preflight\.{name}.* is out of range"):
        check(run)


def _dataset(folder: Path) -> Dataset:
    """Return the data set that an earlier check was made of."""
    found = artifacts.read(Dataset, folder=folder / "result")
    assert found is not None
    return found
