"""The before/after card of models that lie there already: no training is needed to see what it says of one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import keys
from phi_runner.artifacts import Dataset, Scorecard, TrainedModel
from phi_runner.card import content
from phi_runner.card.content import Card
from phi_runner.config.schema import AccountAzure, Gate, RunConfig, StageName
from phi_runner.errors import GateRefused
from phi_runner.stages import data, evaluate, register
from phi_runner.stages.stage import Inputs
from tests import runs, tiny

pytestmark = pytest.mark.filterwarnings("default")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A data set, and the models that can be held against one another on it."""

    folder: Path
    config: RunConfig
    dataset: Dataset
    base: Path

    def trained(self, model: Path, **changes: Any) -> TrainedModel:
        """Return a training's result that began with the base and came to `model`."""
        place = self.folder / "trained" / model.name
        if not place.exists():
            shutil.copytree(model, place / "model")
        values: dict[str, Any] = {
            "folder": place, "base": str(self.base), "revision": "", "trust_remote_code": False, "adapter": False,
            "max_length": 128, "parameters": 1, "steps": 1, "loss_first": 1.0, "loss_last": 1.0, "template_hash": "",
            "data_hash": "", "tracking_run": "",
        }  # fmt: skip
        return TrainedModel(**values | changes)

    def inputs(self, trained: TrainedModel, **more: Scorecard) -> Inputs:
        made = {StageName.data: self.dataset, StageName.train: trained}
        return Inputs(made | {StageName(name): card for name, card in more.items()}, dict.fromkeys(StageName, "k"))

    def evaluated(self, model: Path, name: str, **changes: Any) -> tuple[Scorecard, Card, str]:
        """Return the stage's result, its card and what it said."""
        config = replace(self.config, evaluate=replace(self.config.evaluate, **changes))
        rundir, heard = runs.rundir(self.folder / name, outputs=self.folder, stage="evaluate")
        made = evaluate.run(config, self.inputs(self.trained(model)), rundir)
        card = content.read(made.folder)
        assert card is not None
        return made, card, heard.text()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    folder = tmp_path_factory.mktemp("evaluated")
    config = runs.config(
        StageName.evaluate, outputs=folder, azure=AccountAzure(subscription="s"),
        data=replace(runs.config(outputs=folder).data, train_file=str(runs.facts_file(folder)), eval_fraction=0.9),
    )  # fmt: skip
    config.evaluate.gate = Gate.better
    config.evaluate.prompts, config.evaluate.max_new_tokens, config.evaluate.resamples = 24, 8, 500
    rundir, _heard = runs.rundir(folder / "data", outputs=folder, stage="data")
    dataset = data.STAGE.run(config, Inputs({}, {}), rundir)
    assert isinstance(dataset, Dataset)
    return Bench(folder=folder, config=config, dataset=dataset, base=tiny_model)


@pytest.fixture(scope="module")
def unchanged(bench: Bench) -> tuple[Scorecard, Card, str]:
    """The card of a training that changed nothing."""
    return bench.evaluated(bench.base, "unchanged")


def test_a_training_that_changes_nothing_reads_no_change(unchanged: tuple[Scorecard, Card, str]) -> None:
    made, card, said = unchanged
    assert made.verdict == card.verdict == "no change"
    assert made.loss_before == made.loss_after
    assert {figure.name: str(figure.verdict) for figure in card.figures if figure.unit != "share"} == {
        "loss": "no change", "perplexity": "no change", "question_gain": "no change", "probe": "no change",
    }  # fmt: skip
    assert {str(figure.verdict) for figure in card.figures if figure.unit == "share"} <= {
        "no change", "too few rows to tell",
    }  # fmt: skip
    assert (card.loss_rose, card.now_wrong) == ([], [])
    assert "no change" in said


def test_almost_no_training_reads_no_change_too(bench: Bench, tmp_path: Path) -> None:
    from phi_runner.model import load

    model, tokenizer = load.pretrained(str(bench.base))
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight += 1e-7 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    load.save(model, tokenizer, folder=tmp_path / "nudged")
    made, card, _said = bench.evaluated(tmp_path / "nudged", "nudged", prompts=0)
    assert made.loss_before != made.loss_after
    assert made.verdict == "no change"
    assert card.not_measured["exact"] == "evaluate.prompts=0 asks for no answers"


def test_the_result_holds_card_rows_and_answers(unchanged: tuple[Scorecard, Card, str], bench: Bench) -> None:
    made, card, _said = unchanged
    names = {file.name for file in made.folder.iterdir()}
    assert {"card.json", "held_out.jsonl", "answers.jsonl"} <= names
    rows = [json.loads(line) for line in (made.folder / "held_out.jsonl").read_text().splitlines()]
    assert len(rows) == card.held_out_rows == bench.dataset.test_rows
    assert sum(row["nats_after"] for row in rows) / sum(row["tokens_after"] for row in rows) == made.loss_after
    first = json.loads((made.folder / "answers.jsonl").read_text().splitlines()[0])
    assert {"messages", "wanted", "before", "after", "max_new_tokens", "comparable"} == set(first)


def test_a_model_that_got_worse_is_shown_with_its_worst_rows_and_refused(bench: Bench, tmp_path: Path) -> None:
    worse = tiny.make_model_folder(tmp_path / "worse", seed=1)
    _shout(worse)
    made, card, said = bench.evaluated(worse, "worse")
    assert made.verdict == "worse"
    assert "loss" in made.worse.split(",")
    assert card.loss_rose_rows > 5
    assert len(card.loss_rose) == 5
    rises = [row["loss_after"] - row["loss_before"] for row in card.loss_rose]
    assert rises == sorted(rises, reverse=True)
    taught = {(wording, answer) for wording, answer in runs.FACTS.items()}
    assert any(question in card.loss_rose[0]["question"] for question, _answer in taught)
    assert card.loss_rose[0]["answer"].strip() in runs.FACTS.values()
    assert "worse on" in said
    rundir, _heard = runs.rundir(tmp_path / "register", outputs=bench.folder, stage="register")
    config = replace(bench.config, stages=[StageName.evaluate, StageName.register])
    with pytest.raises(
        GateRefused, match=r"^finetune-phi-model is not registered: held-out loss .* worse; evaluate\.gate=better"
    ):
        register.run(config, bench.inputs(bench.trained(worse), evaluate=made), rundir)


def _shout(folder: Path) -> None:
    """Make a model surer of what it says, which is wrong."""
    from phi_runner.model import load

    model, tokenizer = load.pretrained(str(folder))
    model.model.norm.weight.data *= 4
    load.save(model, tokenizer, folder=folder)


def test_what_was_measured_before_an_interruption_is_not_measured_again(bench: Bench, tmp_path: Path) -> None:
    rundir, heard = runs.rundir(bench.folder / "again", outputs=bench.folder, stage="evaluate", key="a" * 64)
    inputs = bench.inputs(bench.trained(bench.base))
    first = evaluate.run(bench.config, inputs, rundir)
    again = evaluate.run(bench.config, inputs, rundir)
    assert again == first
    assert heard.text().count("was measured before the interruption") == 2


def _parts(stage: Any, config: RunConfig) -> dict[str, str]:
    return dict(keys.parts(stage, config, Inputs({}, dict.fromkeys(StageName, "k"))))


@pytest.fixture
def changed(bench: Bench) -> Callable[..., RunConfig]:
    def change(**changes: Any) -> RunConfig:
        return replace(bench.config, evaluate=replace(bench.config.evaluate, **changes))

    return change


def test_the_gate_is_asked_again_and_nothing_is_measured_again(bench: Bench, changed: Callable[..., RunConfig]) -> None:
    other = changed(gate=Gate.not_worse)
    assert _parts(evaluate.STAGE, other) == _parts(evaluate.STAGE, bench.config)
    differing = _parts(register.STAGE, other).items() ^ _parts(register.STAGE, bench.config).items()
    assert {name for name, _text in differing} == {"config:evaluate.gate"}


def test_own_files_decide_by_their_bytes(bench: Bench, changed: Callable[..., RunConfig], tmp_path: Path) -> None:
    here, there = tmp_path / "a.jsonl", tmp_path / "b" / "a.jsonl"
    there.parent.mkdir()
    for file in (here, there):
        file.write_text('{"prompt": "a", "completion": "b"}\n')
    first, moved = (_parts(evaluate.STAGE, changed(probe_file=str(file))) for file in (here, there))
    assert first == moved != _parts(evaluate.STAGE, bench.config)
    there.write_text('{"prompt": "a", "completion": "c"}\n')
    assert _parts(evaluate.STAGE, changed(probe_file=str(there))) != first


def test_who_reads_the_card(bench: Bench, changed: Callable[..., RunConfig]) -> None:
    alone = [StageName.register]
    assert register.reads(replace(bench.config, stages=alone)) == (StageName.train, StageName.evaluate)
    assert register.reads(replace(changed(gate=Gate.never), stages=alone)) == (StageName.train,)
    both = replace(changed(gate=Gate.never), stages=[StageName.evaluate, StageName.register])
    assert register.reads(both) == (StageName.train, StageName.evaluate)
