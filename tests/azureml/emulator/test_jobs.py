"""Jobs, their history and assets as the real client meets them: executed from the uploaded bytes, never twice."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from phi_runner import processes
from phi_runner.azureml.emulator import job_process
from tests.azureml.emulator.client import ENVIRONMENT, connect, environment, workspace
from tests.azureml.rig import Rig, running

# what azure-ai-ml's downloads use of azure-storage-blob
pytestmark = pytest.mark.filterwarnings("ignore:(The use of a 'BlobProperties'|content_as_bytes):DeprecationWarning")
_SCRIPT = """
import json, os, sys, time
from pathlib import Path
out, wait, value = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
print("argv", sys.argv[4:], "proxy" if "HTTPS_PROXY" in os.environ else "no proxy", os.environ["COLOUR"], flush=True)
print("rank", os.environ.get("RANK"), "of", os.environ.get("WORLD_SIZE"), os.environ.get("MASTER_ADDR"), flush=True)
if len(sys.argv) > 5:
    print(Path(sys.argv[4]).read_text(), sorted(os.listdir(sys.argv[5])), flush=True)
for number in range(int(wait * 10)):
    print("tick", number, flush=True)
    time.sleep(0.1)
if value == "fail":
    sys.exit("this job was made to fail")
(out / "model").mkdir()
(out / "model" / "MLmodel").write_text("flavors: {python_function: {loader_module: none, data: {a: 1}}}")
Path("outputs").mkdir()
Path("outputs/report.txt").write_text(value)
if value != "named":
    print(json.dumps({"metrics": {"loss": abs(float(value) - 2)}}))
"""


@pytest.fixture(scope="module")
def ml(rig: Rig) -> Iterator[Any]:
    """The real client."""
    with workspace(rig) as client:
        yield client


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job's script."""
    folder = tmp_path_factory.mktemp("job") / "code"
    folder.mkdir()
    (folder / "main.py").write_text(_SCRIPT, encoding="utf-8")
    return folder


def _job(name: str, code: Path, *, wait_s: float = 0, value: str = "1", **more: Any) -> Any:
    from azure.ai.ml import Output, command

    line = f"python main.py ${{{{outputs.model}}}} {wait_s} {value}"
    return command(
        name=name, code=str(code), command=line, environment=ENVIRONMENT, compute="cpu", experiment_name="tests",
        environment_variables={"COLOUR": "dark green"}, outputs={"model": Output(type="uri_folder")}, **more,
    )  # fmt: skip


def _status(job: Any) -> str:
    return str(getattr(job.status, "value", job.status))  # an enum, or text


def _ended(ml: Any, name: str) -> str:
    until = time.monotonic() + 30
    while (status := _status(ml.jobs.get(name))) not in ("Completed", "Failed", "Canceled"):
        assert time.monotonic() < until, status
        time.sleep(0.1)
    return status


def _log(ml: Any, name: str, folder: Path, *, file: str = "std_log.txt") -> str:
    ml.jobs.download(name, download_path=str(folder))
    return (folder / "artifacts" / "user_logs" / file).read_text(encoding="utf-8")


def test_a_job_runs_the_uploaded_code_with_its_inputs_and_outputs(
    ml: Any, code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from azure.ai.ml import Input

    (tmp_path / "rows.jsonl").write_text("one row", encoding="utf-8")
    job = _job(
        "with-inputs", code, value="named",
        inputs={
            "rows": Input(type="uri_file", path=str(tmp_path / "rows.jsonl")),
            "all": Input(type="uri_folder", path=str(tmp_path)),
        },
    )  # fmt: skip
    job.component.command += " ${{inputs.rows}} ${{inputs.all}} $[[--more ${{inputs.never}}]]"
    ml.jobs.create_or_update(job)
    ml.jobs.stream("with-inputs")
    streamed = capsys.readouterr().out
    assert "no proxy dark green" in streamed
    assert "one row ['rows.jsonl']" in streamed
    ml.jobs.download("with-inputs", download_path=str(tmp_path / "got"), output_name="model")
    assert (tmp_path / "got" / "named-outputs" / "model" / "model" / "MLmodel").exists()
    _log(ml, "with-inputs", tmp_path / "got")
    assert (tmp_path / "got" / "artifacts" / "outputs" / "report.txt").read_text(encoding="utf-8") == "named"


def test_the_same_name_runs_once_and_the_same_code_is_uploaded_once(ml: Any, rig: Rig, code: Path) -> None:
    ml.jobs.create_or_update(_job("once", code, value="named"))
    assert _ended(ml, "once") == "Completed"
    before = len(rig.wire())
    again = ml.jobs.create_or_update(_job("once", code, value="other"))
    assert _status(again) == "Completed"
    assert not [call for call in rig.wire()[before:] if "startPendingUpload" in call.get("path", "")]


def test_a_failing_job_says_how_its_process_ended(ml: Any, code: Path) -> None:
    from azure.ai.ml.exceptions import JobException

    ml.jobs.create_or_update(_job("failing", code, value="fail"))
    with pytest.raises(JobException, match="exited with status code 1") as caught:
        ml.jobs.stream("failing")
    assert '"code": "UserError"' in str(caught.value)
    assert "this job was made to fail" in str(caught.value)


def test_cancelling_ends_the_process(ml: Any, rig: Rig, code: Path) -> None:
    ml.jobs.create_or_update(_job("endless", code, wait_s=600))
    pid = _pid(rig.folder, "endless")
    ml.jobs.begin_cancel("endless").result()
    assert _ended(ml, "endless") == "Canceled"
    assert not psutil.pid_exists(pid)


def _pid(folder: Path, job: str) -> int:
    file, until = folder / "jobs" / job / "process.json", time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < until, "the job does not start"
        time.sleep(0.02)
    return int(json.loads(file.read_text(encoding="utf-8"))["pid"])


def test_a_distributed_job_has_a_process_for_every_rank(ml: Any, code: Path, tmp_path: Path) -> None:
    ranks = {"instance_count": 2, "distribution": {"type": "pytorch", "process_count_per_instance": 1}}
    job = _job("distributed", code, value="named", **ranks)
    job.component.command = "echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"
    ml.jobs.create_or_update(job)
    assert _ended(ml, "distributed") == "Completed"
    logs = [_log(ml, "distributed", tmp_path, file=f"std_log_process_{rank}.txt") for rank in (0, 1)]
    assert [log.partition(" at ")[0] for log in logs] == ["rank 0 of 2", "rank 1 of 2"]
    assert logs[0].partition(" at ")[2] == logs[1].partition(" at ")[2]


def test_unknown_compute_and_too_many_nodes_are_refused(ml: Any, code: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    job = _job("nowhere", code)
    job.compute = "gone"
    with pytest.raises(HttpResponseError, match="Unknown compute target 'gone'") as caught:
        ml.jobs.create_or_update(job)
    assert caught.value.status_code == 400
    with pytest.raises(HttpResponseError, match="JobNodeCountExceedsCoreQuota"):
        ml.jobs.create_or_update(_job("many", code, instance_count=3))


def test_a_model_is_registered_from_a_jobs_output_and_from_nothing_else(ml: Any, code: Path, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    ml.jobs.create_or_update(_job("trained", code, value="named"))
    assert _ended(ml, "trained") == "Completed"

    def register(path: str, kind: str = "mlflow_model") -> Any:
        return ml.models.create_or_update(Model(name="phi", path=path, type=kind, tags={"by": "tests"}))

    made = register("azureml://jobs/trained/outputs/model/paths/model")
    assert (made.version, made.job_name, made.tags) == ("1", "trained", {"by": "tests"})
    assert made.path.endswith("/workspaces/ws/datastores/workspaceblobstore/paths/azureml/trained/model/model")
    assert made.flavors == {"python_function": {"loader_module": "none", "data": '{"a": 1}'}}
    ml.models.download("phi", version="1", download_path=str(tmp_path))
    assert list(tmp_path.rglob("MLmodel"))
    artifacts = register("azureml://jobs/trained/outputs/artifacts/paths/outputs", "custom_model")
    assert artifacts.path.endswith("/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.trained/outputs")
    assert ml.models.get("phi", label="latest").version == "2"
    with pytest.raises(HttpResponseError, match="does not exist in the outputs of job trained"):
        register("azureml://jobs/trained/outputs/model/paths/mod")
    with pytest.raises(HttpResponseError, match="no MLflow model"):
        register("azureml://jobs/trained/outputs/artifacts/paths/outputs")
    with pytest.raises(ResourceNotFoundError, match="Job unknown was not found"):
        register("azureml://jobs/unknown/outputs/model")
    ml.models.archive("phi", version="1")
    assert [model.version for model in ml.models.list("phi")] == ["2"]


def test_an_environments_version_never_changes_its_meaning(ml: Any) -> None:
    from azure.ai.ml.entities import Environment

    def make(image: str) -> Any:
        conda = {"name": "x", "dependencies": ["python=3.11"]}
        return ml.environments.create_or_update(Environment(name="serving", image=image, conda_file=conda))

    assert [make(image).version for image in ("one", "one", "two")] == ["1", "1", "2"]


def test_a_sweep_runs_its_trials_and_names_the_best(ml: Any, code: Path, tmp_path: Path) -> None:
    from azure.ai.ml.sweep import Choice

    job = _job("trial", code, inputs={"rate": 1.0})
    job.component.command = "python main.py ${{outputs.model}} 0 ${{inputs.rate}}"
    sweep = job(rate=Choice([1.0, 2.0])).sweep(
        primary_metric="loss", goal="minimize", sampling_algorithm="grid", compute="cpu"
    )
    sweep.name = "sweep"
    sweep.set_limits(max_total_trials=2)
    ml.jobs.create_or_update(sweep)
    assert _ended(ml, "sweep") == "Completed"
    assert ml.jobs.get("sweep").properties["best_child_run_id"] == "sweep_1"
    children = {job.name: _status(job) for job in ml.jobs.list(parent_job_name="sweep")}
    assert children == {"sweep_0": "Completed", "sweep_1": "Completed"}
    assert "sweep_0" not in [job.name for job in ml.jobs.list()]
    ml.jobs.download("sweep", download_path=str(tmp_path))
    assert (tmp_path / "artifacts" / "outputs" / "report.txt").read_text(encoding="utf-8") == "2.0"


@pytest.mark.parametrize(
    ("rows", "status", "problem"),
    [
        ('{"messages": [{"role": "user", "content": "a"}]}', "Completed", ""),
        ('{"text": "a"}', "Failed", "line 1 of rows.jsonl has no 'messages'"),
    ],
)
def test_a_fine_tuning_job_checks_its_data(ml: Any, tmp_path: Path, rows: str, status: str, problem: str) -> None:
    from azure.ai.ml.finetuning import FineTuningTaskType, create_finetuning_job

    (tmp_path / "rows.jsonl").write_text(rows + "\n", encoding="utf-8")
    name = f"tuned-{status.lower()}"
    job = create_finetuning_job(
        model="azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/7",
        task=FineTuningTaskType.CHAT_COMPLETION, training_data=str(tmp_path / "rows.jsonl"),
        validation_data=str(tmp_path / "rows.jsonl"), hyperparameters={"learning_rate": "0.00002"}, name=name,
        output_model_name_prefix="tuned", experiment_name="tests",
    )  # fmt: skip
    ml.jobs.create_or_update(job)
    assert _ended(ml, name) == status
    details = ml.jobs._runs_operations.get_run_details(name)
    if problem:
        assert problem in details.error.error.message
    else:
        assert "simulated" in _log(ml, name, tmp_path)
        assert ml.models.get(job.outputs["registered_model"].name, label="latest").job_name == name


def test_a_job_lives_on_when_the_emulator_is_killed(code: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    with running(folder) as rig, workspace(rig) as ml:
        ml.jobs.create_or_update(_job("survivor", code, wait_s=3, value="named"))
        ml.jobs.create_or_update(_job("victim", code, wait_s=0.5, value="named"))
        survivor, victim = _pid(folder, "survivor"), _pid(folder, "victim")
        os.kill(rig.pid, signal.SIGKILL)
        os.killpg(victim, signal.SIGKILL)
        rig.process.wait()
    with running(folder) as rig, environment(rig):
        ml = connect(rig)
        assert _status(ml.jobs.get("survivor")) in ("Preparing", "Running")  # not Queued: adopted
        assert _pid(folder, "survivor") == survivor
        assert [_ended(ml, name) for name in ("survivor", "victim")] == ["Completed", "Completed"]
        assert _log(ml, "survivor", tmp_path).count("tick 0\n") == 1
    assert list((folder / "jobs").iterdir()) == []


def test_a_job_ends_with_the_folder_of_its_cloud(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "orphan"
    (folder / "code").mkdir(parents=True)
    spec = {"command": "sleep 600", "cwd": str(folder / "code"), "environment": {}, "ranks": [{}]}
    job_process.write(folder / job_process.SPEC, spec | {"logs": [str(folder / "std_log.txt")]})
    log = tmp_path / "process.log"
    processes.start("phi_runner.azureml.emulator.job_process", [str(folder)], log=log, detach=True).wait()
    process = psutil.Process(_pid(tmp_path, "orphan"))
    shutil.rmtree(folder)
    process.wait(timeout=20)
    assert log.read_text(encoding="utf-8") == ""
