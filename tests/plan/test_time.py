"""The time of a plan: from operations where nothing was measured, from the last runs where something was."""

import json
from pathlib import Path

import pytest

from phi_runner import machine
from phi_runner.artifacts import MEASURED_FILE
from phi_runner.config.architectures import ARCHITECTURES
from phi_runner.config.schema import StageName
from phi_runner.keys import parts
from phi_runner.plan.bands import Band, Estimates, Missing
from phi_runner.plan.estimate import estimate
from phi_runner.plan.work import work
from phi_runner.stages import train
from phi_runner.stages.stage import Inputs
from phi_runner.store import Store
from tests.config.configs import config_of

_DATA = "d" * 64
_SHAPE = {
    "model_type": "phi3", "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 2048, "tie_word_embeddings": True,
}  # fmt: skip


def _stored(store: Store, overrides: str, *, seconds: float = 100.0, loop_s: float = 80.0, **told: object) -> None:
    """Publish a training as the train stage leaves it, without its weights."""
    config = config_of(overrides)
    found = parts(train.STAGE, config, Inputs({}, {StageName.data: _DATA}))
    key = f"{len(store.manifests('train')):064d}"
    folder = store.work_folder("train", key)
    settings = {
        "parameters": 3_737_856, "trained": 3_737_856, "shape": _SHAPE, "attended": 60.0, "micro_batch": 16,
        "gradient_checkpointing": False, "fused_loss": True, "processes": 1,
    }  # fmt: skip
    values = {
        "machine": machine.here().told(), "steps": 100, "of_steps": 100, "epochs": config.train.epochs,
        "tokens": 270_000, "loop_s": loop_s, "steps_s": 0.9 * loop_s, "peak_bytes": 10**9, "peak_cuda_bytes": 0,
        "settings": settings,
    } | told  # fmt: skip
    (folder / MEASURED_FILE).write_text(json.dumps(values))
    store.publish("train", key, parts=found, inputs={"data": _DATA}, seconds=seconds)


def _estimate(overrides: str, store: Store, *, reused: tuple[StageName, ...] = ()) -> Estimates:
    return estimate(config_of(overrides), store=store, keys={StageName.data: _DATA}, reused=reused, dataset=None)


def _training(found: Estimates) -> Band:
    hours = found.hours[StageName.train]
    assert isinstance(hours, Band)
    assert hours.low <= hours.likely <= hours.high
    return hours


def test_nothing_measured_means_operations_at_a_stated_rate(tmp_path: Path) -> None:
    hours = _training(_estimate("", Store(tmp_path)))
    assert "GFLOP/s a core" in hours.source
    assert "no measured training" in hours.source
    assert hours.high > 3 * hours.low


def test_the_same_training_takes_what_it_took(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _stored(store, "")
    hours = _training(_estimate("seed=1", store))
    assert hours.likely == pytest.approx(100 / 3600)
    assert "the last run of this shape" in hours.source
    assert hours.high / hours.low < 2


def test_half_the_epochs_take_half_the_loop(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _stored(store, "train.epochs=18")
    hours = _training(_estimate("train.epochs=9", store))
    assert hours.likely == pytest.approx((20 + 40) / 3600)


def test_the_tokens_of_an_earlier_training_are_taken_as_they_were_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _stored(store, "train.epochs=18")
    found = _estimate("train.epochs=9", store)
    assert isinstance(found.tokens, Band)
    assert found.tokens.likely == pytest.approx(270_000 / 18)


def test_another_shape_is_scaled_by_operations_in_a_wider_band(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _stored(store, "")
    same = _training(_estimate("", store))
    larger = _training(_estimate("model.layers=16", store))
    assert larger.likely > 2 * same.likely
    assert larger.high / larger.low > same.high / same.low
    assert "by operations" in larger.source


def test_another_machine_tells_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _stored(store, "", machine=machine.here().told() | {"processor": "another"})
    assert "no measured training" in _training(_estimate("", store)).source


@pytest.mark.parametrize("written", ["", "{}", '{"tokens": 1}', "[]"])
def test_a_record_that_cannot_be_read_is_passed_over(written: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    _stored(store, "")
    (manifest,) = store.manifests("train")
    (store.folder("train", manifest.key) / MEASURED_FILE).write_text(written)
    assert "no measured training" in _training(_estimate("", store)).source


def test_a_stage_that_is_reused_takes_no_time(tmp_path: Path) -> None:
    found = _estimate("", Store(tmp_path), reused=(StageName.data, StageName.train))
    assert _training(found).high == 0
    total = found.hours_total
    assert isinstance(total, Band)
    evaluated = found.hours[StageName.evaluate]
    assert isinstance(evaluated, Band)
    assert total.likely == pytest.approx(evaluated.likely)


def test_other_stages_take_what_they_took(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.work_folder("data", _DATA) / "artifact.json").write_text("{}")
    store.publish("data", _DATA, parts={"config:data.take": "100%"}, inputs={}, seconds=36.0)
    hours = _estimate("", store).hours[StageName.data]
    assert isinstance(hours, Band)
    assert hours.likely == pytest.approx(0.01)
    assert "took the last time here" in hours.source


def test_a_cloud_takes_longer_than_its_training(tmp_path: Path) -> None:
    azure = "azure.subscription=00000000-0000-0000-0000-000000000001"
    found = _estimate(f"model=phi3_mini_4k data=ultrachat compute=azure_gpu {azure}", Store(tmp_path))
    assert "a node comes up" in _training(found).source


def test_data_whose_size_nobody_knows_leave_the_time_open(tmp_path: Path) -> None:
    found = _estimate("model=phi3_mini_4k data=ultrachat data.repo=someone/else compute=cpu", Store(tmp_path))
    assert isinstance(found.hours[StageName.train], Missing)
    assert isinstance(found.hours_total, Missing)
    assert any("someone/else" in line for line in found.missing)


def test_operations_are_six_a_weight_and_token_and_fewer_for_adapters() -> None:
    mini = ARCHITECTURES["microsoft/Phi-3-mini-4k-instruct"]
    full, lora = config_of("train=full").train, config_of("train=lora").train
    whole = work(mini, full, attended=1.0, checkpointed=False, fused_loss=True).trained
    matrices = mini.parameters - mini.vocab_size * mini.hidden_size  # an embedding is looked up, not multiplied
    assert whole == pytest.approx(6 * matrices, rel=0.001)
    again = work(mini, full, attended=1.0, checkpointed=True, fused_loss=True).trained
    assert again == pytest.approx(8 * matrices, rel=0.01)
    adapted = work(mini, lora, attended=1.0, checkpointed=False, fused_loss=True).trained
    assert 4 * matrices < adapted < 4.2 * matrices


def test_repeating_a_run_takes_what_its_stages_took_and_one_that_is_gone_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    _stored(store, "", seconds=120.0)
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    key = store.manifests("train")[0].key
    overrides = f"+recipe=reproduce run={folder}"
    (folder / "run.json").write_text(json.dumps({"stages": [{"name": "train", "key": key}]}))
    known = _estimate(overrides, store).hours[StageName.reproduce]
    assert isinstance(known, Band)
    assert known.likely == pytest.approx(120 / 3600)
    (folder / "run.json").write_text("{")
    unknown = _estimate(overrides, store).hours[StageName.reproduce]
    assert isinstance(unknown, Missing)
    assert "no longer stored" in unknown.what
