"""The benchmarks' own pieces: the same corpus every time, the promised fields, ratios that are what they say."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import corpus, losses, measure, tasks
from benchmarks.figures import figures
from benchmarks.measure import Measured
from benchmarks.peers import Peer, begun_at_s, printed
from benchmarks.peers.ours import OURS
from benchmarks.peers.trl_alone import PLAIN
from benchmarks.table import Figure, objects, show
from benchmarks.tasks import SIZES, Task
from benchmarks.watched import Line, Watched, run

_FIELDS = ["name", "median", "min", "max", "unit", "ratio_to", "ratio"]
_LITTLE = 200_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def _task(folder: Path) -> Task:
    return Task(
        size="nano",
        model=folder,
        dialogues=folder / "none.jsonl",
        held_out=folder / "none.jsonl",
        folder=folder / "run",
    )


def _script(*lines: str) -> Peer:
    return Peer(
        name="script", about="", command=lambda _task, python: [str(python), "-c", "\n".join(lines)], steps=printed
    )


def test_the_corpus_is_the_same_every_time(made: Path, tmp_path: Path) -> None:
    first = corpus.chats(20, folder=made, text_bytes=_LITTLE)
    assert first.read_bytes() == corpus.chats(20, folder=tmp_path, text_bytes=_LITTLE).read_bytes()
    assert first.read_bytes() != corpus.chats(20, folder=made, seed=1, text_bytes=_LITTLE).read_bytes()


def test_rows_have_the_fields_of_ultrachat(made: Path) -> None:
    file = corpus.chats(20, folder=made, text_bytes=_LITTLE)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20
    for row in rows:
        assert list(row) == ["prompt", "prompt_id", "messages"]
        assert row["prompt"] == row["messages"][0]["content"]
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert len({row["prompt_id"] for row in rows}) == 20


def test_the_tokenizer_has_exactly_the_vocabulary_that_was_asked_for(made: Path) -> None:
    words = corpus.tokenizer(1024, folder=made, text_bytes=_LITTLE)
    assert len(words) == 1024
    text = words.apply_chat_template([{"role": "user", "content": "Who?"}], tokenize=False, add_generation_prompt=True)
    assert words(text, add_special_tokens=False)["input_ids"][-1] == words.convert_tokens_to_ids("<|assistant|>")
    with pytest.raises(ValueError, match="take more text"):
        corpus.tokenizer(32064, folder=made, text_bytes=_LITTLE)


def test_the_sizes_are_the_models_that_they_are_named_after() -> None:
    assert SIZES["small"].parameters == 58_532_352
    assert SIZES["small"].flops_per_token == 6 * (58_532_352 - 512 * 32064)
    assert SIZES["phi3_mini"].parameters == 3_821_079_552  # microsoft/Phi-3-mini-4k-instruct


def test_the_json_has_the_promised_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = Figure(name="ours", values=[8.0, 12.0, 10.0], unit="tokens/s", ratio_to="theirs")
    theirs = Figure(name="theirs", values=[5.0], unit="tokens/s", ratio_to="theirs")
    heavy = Figure(name="theirs", values=[3.0], unit="GiB")
    broken = Figure(name="other", values=[], unit="tokens/s", ratio_to="theirs", note="does not run: no CUDA")
    show([ours, theirs, heavy, broken], title="speed", file=tmp_path / "figures.json")
    rows = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [_FIELDS] * 4
    assert rows[0] == dict(zip(_FIELDS, ["ours", 10.0, 8.0, 12.0, "tokens/s", "theirs", 2.0], strict=True))
    assert rows[1]["ratio"] == 1.0
    assert rows[2]["ratio_to"] is None
    assert rows[3] == dict(
        zip(_FIELDS, ["other (does not run: no CUDA)", None, None, None, "tokens/s", "theirs", None], strict=True)
    )
    assert "does not run: no CUDA" in capsys.readouterr().out


def test_a_ratio_never_mixes_units() -> None:
    [row, _other] = objects(
        [Figure(name="a", values=[1.0], unit="s", ratio_to="b"), Figure(name="b", values=[2.0], unit="GiB")]
    )
    assert row["ratio"] is None


def test_the_first_step_is_not_timed(tmp_path: Path) -> None:
    peer = _script(
        "import time", "print('Running training')", "time.sleep(0.6)",
        "for step in (1, 2, 3): print({'loss': 9.0 - step, 'num_input_tokens_seen': 100 * step}); time.sleep(0.1)",
    )  # fmt: skip
    found = measure.measure(peer, _task(tmp_path), venvs=tmp_path, limit_s=30, install_s=0)
    assert found.tokens == [100, 200, 300]
    assert found.losses == [8.0, 7.0, 6.0]
    assert found.first_s
    assert found.first_s > 0.6
    assert found.rate
    assert found.rate > 300 / 0.9  # with the first step's 0.6 s it could not be
    assert found.peak_gib


def test_a_variant_that_fails_says_why_and_has_no_figure(tmp_path: Path) -> None:
    found = measure.measure(
        _script("raise RuntimeError('no CUDA here')"), _task(tmp_path), venvs=tmp_path, limit_s=30, install_s=0
    )
    assert found == Measured(note="does not run: RuntimeError: no CUDA here")


def test_a_variant_too_slow_for_the_limit_is_bounded_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_LEAST_S", 0)
    peer = _script("import time", "print('Running training')", "time.sleep(60)")
    found = measure.measure(peer, _task(tmp_path), venvs=tmp_path, limit_s=1, install_s=0)
    assert found.rate
    assert found.rate > 4 * 2048 / 5
    assert found.note.startswith("at most this: no step of 8192 tokens ended within")


def test_a_process_and_its_children_end_at_the_limit(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    parent = f"import subprocess, sys; print('up'); subprocess.run([sys.executable, '-c', {child!r}])"
    found = run([sys.executable, "-c", parent], folder=tmp_path, limit_s=1, environment={})
    assert found.stopped
    assert found.seconds < 20
    assert found.lines[0].text == "up"


def test_figures_divide_by_the_tutorial_in_a_precision_that_runs_here(tmp_path: Path) -> None:
    results = {
        "phi_runner": [Measured(rate=600.0, peak_gib=2.0)],
        "tutorial in fp32": [Measured(rate=100.0, peak_gib=5.0)],
        "axolotl": [Measured(note="does not run: no CUDA")],
    }
    rows = objects(figures(replace(_task(tmp_path)), results, peaks={"fp32": [90.0, 100.0], "bf16": [1.0]}))
    found = {(row["name"], row["unit"]): row for row in rows}
    assert found["nano, phi_runner", "tokens/s"]["ratio"] == 6.0
    assert found["nano, phi_runner", "GiB, peak of all processes"]["ratio"] == 0.4
    assert found["nano, axolotl (does not run: no CUDA)", "tokens/s"]["median"] is None
    share = found["nano, phi_runner", "% of the fp32 matmul peak"]["median"]
    assert share == pytest.approx(100 * SIZES["nano"].flops_per_token * 600 / 100e9)


def test_losses_are_compared_on_the_rows_that_ours_has_packed(tmp_path: Path) -> None:
    for name, size in (("test", 10), ("train", 99)):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "packed.arrow").write_bytes(bytes(size))
    given = []

    def end(peer: Peer, task: Task) -> Measured:
        given.append((peer.name, task.packed, task.seed))
        return Measured(losses=[3.0, 2.0] if peer is PLAIN else [3.0, 2.25], tokens=[10, 20])

    plain, ours, apart = losses.compare(_task(tmp_path), seeds=2, run=end)
    packed = (tmp_path / "run" / "train" / "packed.arrow",)
    assert given == [(OURS.name, (), 0), (PLAIN.name, packed, 0), (OURS.name, (), 1), (PLAIN.name, packed, 1)]
    assert (plain.values, ours.values, apart.values) == ([2.5, 2.5], [2.625, 2.625], [0.25, 0.25])
    assert plain.note == "2 seeds, 3 steps; the same rows in every step"


def test_lines_of_the_library_are_read(tmp_path: Path) -> None:
    lines = [
        Line(1.0, "***** Running training *****"),
        Line(2.0, "{'loss': '10.49', 'grad_norm': '1.2', 'num_input_tokens_seen': '8192', 'epoch': '0.1'}"),
        Line(3.0, '{"step": 2, "loss": 10.25, "num_input_tokens_seen": 16384}'),
        Line(4.0, "{'train_runtime': '3', 'train_loss': '10.37', 'num_input_tokens_seen': '16384'}"),
    ]
    watched = Watched(lines=lines)
    assert begun_at_s(watched) == 1.0
    assert [(step.at_s, step.tokens, step.loss) for step in printed(watched, _task(tmp_path))] == [
        (2.0, 8192, 10.49), (3.0, 16384, 10.25),
    ]  # fmt: skip


def test_short_dialogues_are_those_that_fit(made: Path) -> None:
    file = tasks.short(corpus.chats(20, folder=made, text_bytes=_LITTLE), characters=3000)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert 0 < len(rows) < 20
    assert all(sum(len(message["content"]) for message in row["messages"]) <= 3000 for row in rows)
