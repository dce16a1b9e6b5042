"""`report.html`: everything that a run left, sound HTML, never a key; half-written folders are shown as they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi_runner.report import endpoint, page, run_folder
from phi_runner.report.run_folder import REPORT_FILE, VERSIONS_FILE
from tests import html
from tests.report import folders


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.full_run(tmp_path_factory.mktemp("runs") / "full")


def test_a_full_run_has_every_section(full: Path) -> None:
    read = html.read(page.write(full).read_text(), folder=full)
    wanted = ["stages", "settings", "data", "training", "card", "endpoint", "flow", "plan", "versions", "files"]
    assert [name for name in read.ids if name in wanted] == wanted
    for told in (
        "2 rows twice",
        "as planned",
        "look <here>",
        "Q <b>?",
        "\N{MINUS SIGN}1.000",
        "Loss rose on 1 held-out row",
        "Who?",
    ):
        assert told in read.text
    assert "learning_rate" in read.text


def test_calls_of_the_endpoint_can_be_copied(full: Path) -> None:
    told = run_folder.read(full).artifact("deploy")
    for made in (endpoint.python(told, asked="Who's it?"), endpoint.openai(told, asked="Who's it?")):
        compile(made, "example", "exec")
    script = endpoint.curl(told, asked="Who's it?").replace("curl", "printf '%s|'", 1).replace("$(cat ", "$(echo ")
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("|")
    assert "Authorization: Bearer /keys/it's.key" in words
    assert json.loads(words[-2])["input_data"]["input_string"][0]["content"] == "Who's it?"


@pytest.mark.parametrize("damage", ["{", "[]", '{"stages": [1, {"name": 3}], "events": 7, "overrides": {}}', "null"])
def test_damaged_files_never_end_in_a_traceback(full: Path, tmp_path: Path, damage: str) -> None:
    broken = folders.full_run(tmp_path / "broken")
    for file in sorted(broken.rglob("*")):
        if file.suffix in (".json", ".jsonl", ".yaml") and file.is_file():
            kept = file.read_bytes()
            file.write_text(damage)
            html.read(page.write(broken).read_text(), folder=broken)
            file.write_bytes(kept)


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    read = html.read(page.write(tmp_path).read_text(), folder=tmp_path)
    assert "half-written" in read.text
    assert "run.json is missing" in read.text


def test_no_key_reaches_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["planted&secret<value>", "sk-proj-abcdefghijklmnopqrstuvwx", "hf_abcdefghijklmnopqrstuvwxyz"]
    monkeypatch.setenv("SOME_API_KEY", keys[0])
    run = folders.full_run(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record |= {"status": "failed", "error": f"refused: {' '.join(keys)}, http://me:pass@host, told-by-name"}
    record["overrides"] = [f"+train.extra.token={keys[1]}"]
    folders.write(run, "run.json", record)
    made = page.write(run, secrets={"told-by-name"}).read_text()
    html.read(made, folder=run)
    for key in (*keys, "planted&amp;secret&lt;value&gt;", "me:pass", "told-by-name"):
        assert key not in made
    assert made.count("[hidden]") >= 5


def test_a_real_run_leaves_its_page_and_versions(tmp_path: Path) -> None:
    run = folders.data_run(tmp_path)
    read = html.read((run / REPORT_FILE).read_text(), folder=run)
    assert "no result yet" in read.text
    again = folders.data_run(tmp_path, name="second")
    assert "nothing it depends on has changed" in html.read((again / REPORT_FILE).read_text(), folder=again).text
    made_with = json.loads((run / VERSIONS_FILE).read_text())
    assert made_with["kinds"]["data"] == "file"
    assert made_with["distributions"]["hydra-core"]
    assert made_with["stages"]["data"]["files"]["train.arrow"]


def test_a_failed_run_shows_the_failure_and_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_text('{"nothing": 1}\n')
    with pytest.raises(Exception, match=r"facts\.jsonl"):
        folders.data_run(tmp_path)
    run = tmp_path / "outputs" / "runs" / "first"
    read = html.read((run / REPORT_FILE).read_text(), folder=run)
    assert "data failed" in read.text
    assert "python -m phi_runner 'stages=[data]' seed=0" in read.text
    assert "Traceback" not in read.text


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "runs" / "first"
    (run / REPORT_FILE).mkdir(parents=True)
    folders.data_run(tmp_path)
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "done"
    assert any("report.html could not be written" in event["message"] for event in record["events"])


def test_reading_a_page_imports_nothing_heavy(full: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from phi_runner.report import page; page.write(Path(sys.argv[1]));"
        "print([name for name in ('torch', 'matplotlib', 'transformers', 'azure', 'mlflow') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(full)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]"
