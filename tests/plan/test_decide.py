"""What a plan says of each stage: run, reuse, skip or stop, and why, against a real store."""

from dataclasses import replace
from pathlib import Path

import pytest

from phi_runner.config.schema import AzureCompute, FileData, LocalDeploy, NoDeploy, RunConfig, StageName
from phi_runner.keys import Change
from phi_runner.plan.document import Plan, StagePlan, Verdict
from phi_runner.plan.make import made
from phi_runner.store import Store
from tests import runs
from tests.plan.stored import leave

_ROW = (StageName.data, StageName.train, StageName.evaluate)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    data = FileData(train_file=str(runs.facts_file(tmp_path)))
    return runs.config(*_ROW, outputs=tmp_path / "outputs", data=data)


def plan_of(config: RunConfig, *overrides: str) -> Plan:
    return made(config, overrides=list(overrides), recipe="")


def stage_of(plan: Plan, name: StageName) -> StagePlan:
    return next(stage for stage in plan.stages if stage.name is name)


def verdicts(plan: Plan) -> list[Verdict]:
    return [stage.verdict for stage in plan.stages]


def test_in_an_empty_folder_everything_runs_and_every_key_is_known(config: RunConfig, tmp_path: Path) -> None:
    plan = plan_of(config)
    assert verdicts(plan) == [Verdict.run] * 3
    assert {stage.why for stage in plan.stages} == {"no result yet"}
    assert [read.stage for read in stage_of(plan, StageName.evaluate).inputs] == [StageName.data, StageName.train]
    keys = {stage.name: stage.key for stage in plan.stages}
    assert all(read.key == keys[read.stage] for stage in plan.stages for read in stage.inputs)
    assert not (tmp_path / "outputs").exists()


def test_predicted_keys_are_those_of_the_results(config: RunConfig) -> None:
    foreseen = {stage.name: stage.key for stage in plan_of(config).stages}
    left = leave(config, StageName.data, StageName.train)
    assert left == {name: foreseen[name] for name in left}


def test_stored_results_are_reused_and_a_changed_key_is_named(config: RunConfig) -> None:
    leave(config, StageName.data, StageName.train)
    assert verdicts(plan_of(config)) == [Verdict.reuse, Verdict.reuse, Verdict.run]
    changed = replace(config, train=replace(config.train, epochs=31))
    train = stage_of(plan_of(changed), StageName.train)
    assert (train.verdict, train.why) == (Verdict.run, "train.epochs 30 -> 31")
    assert train.changes == (Change(part="config:train.epochs", before="30", after="31"),)


def test_another_data_set_is_told_downstream(config: RunConfig) -> None:
    leave(config, StageName.data, StageName.train)
    other = replace(config, data=replace(config.data, take="50%"))
    plan = plan_of(other)
    assert stage_of(plan, StageName.data).why == "data.take 100% -> 50%"
    assert stage_of(plan, StageName.train).why == "it reads another result of data"


def test_force_damage_and_a_finished_folder_that_was_not_renamed(config: RunConfig) -> None:
    keys = leave(config, StageName.data, StageName.train)
    forced = plan_of(replace(config, force=[StageName.train]))
    assert stage_of(forced, StageName.train).why == "force=[train]"
    store = Store(Path(config.outputs) / "store")
    data = store.folder(StageName.data, keys[StageName.data])
    data.rename(data.with_name(f".{data.name}.partial"))
    assert stage_of(plan_of(config), StageName.data).verdict is Verdict.reuse
    (store.folder(StageName.train, keys[StageName.train]) / "artifact.json").write_text("{}")
    assert stage_of(plan_of(config), StageName.train).why.startswith("the stored result is damaged (artifact.json has")


def test_an_interrupted_training_says_from_which_step_it_goes_on(config: RunConfig) -> None:
    keys = {stage.name: stage.key for stage in plan_of(config).stages}
    scratch = Store(Path(config.outputs) / "store").scratch_folder(StageName.train, keys[StageName.train])
    for step, whole in ((10, True), (20, True), (30, False)):
        folder = scratch / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / "manifest.json").write_text("{}")
    assert stage_of(plan_of(config), StageName.train).why == "continues from checkpoint at step 20"
    forced = plan_of(replace(config, force=[StageName.train]))
    assert stage_of(forced, StageName.train).why == "force=[train]"


def test_a_missing_input_is_a_problem_with_the_command_and_the_plan_goes_on(config: RunConfig) -> None:
    asked = replace(config, stages=[StageName.train, StageName.evaluate])
    plan = plan_of(asked, "seed=0", "plan=true")
    assert verdicts(plan) == [Verdict.stop, Verdict.unreached]
    assert len(plan.problems) == 1
    assert plan.problems[0].endswith("type: python -m phi_runner seed=0 'stages=[data,train,evaluate]'")
    assert plan.stops
    assert all(read.key for stage in plan.stages for read in stage.inputs)


def test_an_unselected_stored_result_is_found_and_its_choice_explained(config: RunConfig) -> None:
    left = leave(config, StageName.data, StageName.train)
    plan = plan_of(replace(config, stages=[StageName.evaluate]))
    found = {read.stage: (read.key, read.origin) for read in stage_of(plan, StageName.evaluate).inputs}
    assert found[StageName.train] == (left[StageName.train], "stored for this very config")
    assert found[StageName.data] == (left[StageName.data], "what the rest was made from")
    assert not plan.stops


def test_what_has_nothing_to_do_is_skipped_with_its_reason(config: RunConfig) -> None:
    stages = [StageName.infra, *_ROW, StageName.register, StageName.deploy]
    plan = plan_of(replace(config, stages=stages, deploy=NoDeploy()))
    assert stage_of(plan, StageName.infra).why == "nothing of this run needs Azure"
    assert stage_of(plan, StageName.deploy).why == "deploy=none"
    served = plan_of(replace(config, stages=stages, deploy=LocalDeploy()))
    assert stage_of(served, StageName.deploy).verdict is Verdict.run


def test_a_place_of_work_decides_no_key(config: RunConfig) -> None:
    cluster = AzureCompute(cluster="c", vm_size="Standard_E4s_v3", image="i")
    remote = replace(config, stages=[StageName.infra, *_ROW], compute=cluster)
    here, there = plan_of(config), plan_of(remote)
    assert stage_of(here, StageName.train).key == stage_of(there, StageName.train).key
