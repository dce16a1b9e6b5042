"""What goes wrong in Azure, row by row: survived, or told in one line with a next step; the same run again ends well.

Jobs and containers are stand-ins here; the client, the wire and the runner are the real ones. The rows that say the
most run by default, all of them with `-m slow`.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import standin
from tests.e2e.siege import Siege, besieged

pytest.importorskip("azure.ai.ml")
_numbers = itertools.count(1)
_SERVED = "deploy.name=served"
_OPERATION = "GET .*(operations?Statuses|onlineEndpoints.*operation|mfeOperation)"
_NO_QUOTA = (
    "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 requested managed "
    "compute node which maps to 2 vCPUs."
)
_DEPLOYMENT, _ENDPOINT, _JOB = "PUT .*/deployments/(blue|green)$", "PUT .*/onlineEndpoints/served$", "PUT .*/jobs/phi-"
_DETAILS = "GET .*/runs/phi-train.*/details$"
_MODEL = "PUT .*/models/.*/versions/"
_SCORE = r"POST served\..*inference.*/score"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that goes wrong."""

    name: str
    stage: str
    faults: list[dict[str, Any]]
    says: str = ""
    """Pattern of the last line when it must fail; empty: survived."""
    default: bool = False


def _busy(match: str, status: int = 429, **more: Any) -> dict[str, Any]:
    return {"match": match, "status": status, "code": "Busy", "headers": {"Retry-After": "0"}, "times": 2, **more}


def _details(code: str, message: str) -> dict[str, Any]:
    error = {"error": {"error": {"code": code, "message": message}}}
    return {"match": _DETAILS, "status": 200, "body": {"status": "Failed", **error}}


ROWS = (
    Row(name="429 for everything", stage="train", faults=[_busy("management.azure.com", times=3)]),
    Row(name="429 for a job's details", stage="train", faults=[_busy("/details$")]),
    Row(name="503 for a job's details", stage="train", faults=[_busy("/details$", 503)]),
    Row(name="500 for a job", stage="train", faults=[_busy(_JOB, 500, times=1)]),
    Row(name="lost answer to a job", stage="train", faults=[{"match": _JOB, "mode": "lost"}]),
    Row(name="always lost answers to a job", stage="train", faults=[{"match": _JOB, "mode": "lost", "times": -1}]),
    Row(name="dropped job", stage="train", faults=[{"match": _JOB, "mode": "drop"}]),
    Row(name="dropped log", stage="train", faults=[{"match": "GET .*std_log", "mode": "drop", "times": 2}]),
    Row(name="dropped result", stage="train", faults=[{"match": "GET .*/summary/", "mode": "drop", "times": 2}]),
    Row(
        name="job over quota", stage="train", says=r"needs more cores .* azure\.request_quota=true",
        faults=[{"match": _JOB, "status": 400, "code": "JobNodeCountExceedsCoreQuota", "message": "too many nodes"}],
    ),
    Row(
        name="unknown compute", stage="train", says="the workspace has no cluster gone: add stages=",
        faults=[{"match": _JOB, "status": 400, "code": "UserError", "message": "Unknown compute target 'gone'."}],
    ),
    Row(
        name="image build", stage="train", says="environment's image could not be built",
        faults=[_details("ImageBuildFailure", "Image build failed.")],
    ),
    Row(
        name="cancelled", stage="train", says="was cancelled; the same command submits it again",
        faults=[{"match": _DETAILS, "status": 200, "body": {"status": "Canceled"}}],
    ),
    Row(
        name="token refused", stage="train", says="sign-in.* expired: run `az login` again",
        faults=[{"match": "GET .*/jobs/", "status": 401, "times": -1, "code": "ExpiredAuthenticationToken",
                 "message": "The access token expiry UTC time is earlier than current UTC time."}],
    ),
    Row(name="lost answer to a model", stage="register", faults=[{"match": _MODEL, "mode": "lost"}]),
    Row(name="500 for a model", stage="register", faults=[_busy(_MODEL, 500, times=1)]),
    Row(
        name="model path missing", stage="register", says="registering model-.*no such path",
        faults=[{"match": _MODEL, "status": 404, "code": "UserError", "message": "no such path", "times": -1}],
    ),
    Row(name="lost answer to a deployment", stage="deploy", faults=[{"match": _DEPLOYMENT, "mode": "lost"}]),
    Row(name="lost answer to the traffic", stage="deploy", faults=[{"match": _ENDPOINT, "mode": "lost"}]),
    Row(name="dropped deployment", stage="deploy", faults=[{"match": _DEPLOYMENT, "mode": "drop"}]),
    Row(name="dropped traffic", stage="deploy", faults=[{"match": _ENDPOINT, "mode": "drop"}]),
    Row(name="operation lost", stage="deploy", faults=[{"match": _OPERATION, "status": 404}], default=True),
    Row(name="429 for an operation", stage="deploy", faults=[_busy(_OPERATION)]),
    Row(name="503 for an operation", stage="deploy", faults=[_busy(_OPERATION, 503)]),
    Row(name="500 for a deployment", stage="deploy", faults=[_busy(_DEPLOYMENT, 500, times=1)]),
    Row(
        name="name just removed", stage="deploy",
        faults=[{"match": _DEPLOYMENT, "status": 404, "code": "NotFound", "message": '{"title":"Not Found"}'}],
    ),
    Row(
        name="403", stage="deploy", says="may not do that .*role Contributor",
        faults=[{"match": _DEPLOYMENT, "status": 403, "code": "AuthorizationFailed", "message": "no", "times": -1}],
    ),
    Row(
        name="conflict", stage="deploy", says="served",
        faults=[{"match": _DEPLOYMENT, "status": 409, "code": "Conflict", "message": "in progress", "times": -1}],
    ),
    Row(name="busy gateway", stage="deploy", faults=[_busy(_SCORE, 429, times=1)]),
    Row(name="gateway without a route yet", stage="deploy", faults=[_busy(_SCORE, 404, times=2)]),
    Row(
        name="model answers 424", stage="deploy", says="answered 424",
        faults=[{"match": _SCORE, "status": 424, "times": -1, "code": "model_error", "message": "no"}], default=True,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A workspace with a trained and registered model that serves; in the end nothing is left of it."""
    with besieged(tmp_path_factory.mktemp("faults")) as siege:
        standin.invent(siege.kept)
        siege.run("stages=[infra,data,train,evaluate,register,deploy]", _SERVED)
        yield siege
        assert siege.killed("stages=[teardown]", number=1, mode="kill_after", match="^DELETE ")
        siege.run("stages=[teardown]")
        assert siege.left() == []
        assert siege.open_entries() == []
        print(f"faults injected: {siege.injected}, runs: {siege.commands}")


def _fresh(stage: str) -> tuple[str, ...]:
    """Return the arguments of a run of a stage that has something to do."""
    number = next(_numbers)
    changed = {
        "train": (f"train.weight_decay={number / 1000}",),
        "register": (f"register.name=model-{number}",),
        "deploy": (_SERVED, f"deploy.max_new_tokens={number + 10}"),
    }
    return (f"stages=[{stage}]", *changed[stage])


def _last_line(said: str) -> str:
    """Return the one line that tells the failure."""
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if line.startswith("phi_runner: ")]
    return line


def _nothing_twice(siege: Siege) -> None:
    """Check that no job ran twice, nor for one key under two names."""
    assert max(siege.executed().values()) == 1
    assert max(siege.submitted().values()) == 1


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name, marks=[] if row.default else pytest.mark.slow) for row in ROWS]
)
def test_a_fault_is_survived_or_told_and_the_same_run_again_ends_well(siege: Siege, row: Row) -> None:
    arguments, before = _fresh(row.stage), siege.serving("served")
    said = siege.run_with(row.faults, *arguments, expect=None)
    if row.says:
        assert siege.code not in (0, -9)
        assert re.search(row.says, _last_line(said)), said
        assert siege.serving("served") == before
        siege.run(*arguments)
    else:
        assert siege.code == 0, said
    assert (siege.serving("served") == before) == (row.stage != "deploy")
    _nothing_twice(siege)


@pytest.mark.parametrize(
    ("stage", "mode", "match", "number"),
    [
        ("train", "kill", _JOB, 0),
        ("train", "kill_after", _JOB, 0),
        ("register", "kill_after", _MODEL, 0),
        ("deploy", "kill_after", _DEPLOYMENT, 0),
        ("deploy", "kill_after", _ENDPOINT, 1),  # half of the traffic has moved
    ],
)
def test_a_run_that_is_killed_there_ends_well_the_next_time(
    siege: Siege, stage: str, mode: str, match: str, number: int
) -> None:
    arguments, before = _fresh(stage), siege.serving("served")
    with siege.watched("served") as watch:
        assert siege.killed(*arguments, number=number, mode=mode, match=match)
        siege.run(*arguments)
    assert watch.wrong == []
    assert (siege.serving("served") == before) == (stage != "deploy")
    _nothing_twice(siege)


@pytest.mark.slow
def test_a_failed_job_is_told_and_submitted_anew_under_another_name(siege: Siege) -> None:
    arguments = _fresh("train")
    (siege.kept / standin.FAIL).touch()
    said = siege.run(*arguments, expect=None)
    (siege.kept / standin.FAIL).unlink()
    assert siege.code != 0
    assert "the disk of the node is broken" in _last_line(said)
    again = siege.run(*arguments)
    assert re.search(r"submitted job phi-train-\w+-r1", again)
    assert max(siege.executed().values()) == 1


@pytest.mark.parametrize(
    ("log", "says"),
    [
        pytest.param("OSError: the model is not there", "crashed.*has the traffic.*the model is not there", id="crash"),
        pytest.param(
            "ModuleNotFoundError: No module named 'azureml.ai'", r"azureml-ai-monitoring|azureml\.ai",
            id="no monitoring package", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_container_that_crashes_leaves_the_old_one_serving(siege: Siege, log: str, says: str) -> None:
    arguments, before = _fresh("deploy"), siege.serving("served")
    (siege.kept / standin.CRASH).write_text(log, encoding="utf-8")
    said = siege.run(*arguments, expect=None)
    (siege.kept / standin.CRASH).unlink()
    assert siege.code != 0
    assert re.search(says, _last_line(said)), said
    assert siege.serving("served") == before
    siege.run(*arguments)
    assert siege.serving("served") != before


@pytest.mark.slow
def test_a_model_without_the_monitoring_package_is_refused_before_anything_bills(siege: Siege) -> None:
    requirements = siege.kept / "train" / "--summary" / "model_requirements.txt"
    whole = requirements.read_text(encoding="utf-8")
    requirements.write_text("torch\n", encoding="utf-8")
    train = "train.weight_decay=0.5"
    siege.run("stages=[train,evaluate]", train)
    requirements.write_text(whole, encoding="utf-8")
    said = siege.run("stages=[register]", train, expect=None)
    assert siege.code != 0
    assert re.search(r"lack azureml-ai-monitoring.*force=\[train\]", _last_line(said))
    siege.run("stages=[train,evaluate,register]", train, "force=[train]")


@pytest.mark.slow
def test_a_deployment_without_cores_is_told_and_the_old_one_serves(siege: Siege) -> None:
    arguments, before = _fresh("deploy"), siege.serving("served")
    siege.rig.admin("/quota", {"standardESv3Family": 5})
    said = siege.run(*arguments, expect=None)
    siege.rig.admin("/quota", {"standardESv3Family": 1_000_000})
    assert siege.code != 0
    assert re.search(r"not enough cores.*azure\.request_quota=true", _last_line(said)), said
    assert siege.serving("served") == before
    siege.run(*arguments)


@pytest.mark.slow
def test_an_endpoints_name_that_others_have_is_told(siege: Siege) -> None:
    siege.rig.admin("/endpoints", {"taken": ["theirs"]})
    said = siege.run("stages=[deploy]", "deploy.name=theirs", expect=None)
    assert siege.code != 0
    assert re.search(r"name is taken in this region: type deploy\.name=ANOTHER", _last_line(said)), said
    siege.rig.admin("/endpoints", {"taken": []})
    siege.run("stages=[deploy]", "deploy.name=theirs")


@pytest.mark.slow
def test_an_expired_token_is_renewed_and_one_that_cannot_be_is_told(siege: Siege) -> None:
    arguments = _fresh("register")
    siege.rig.admin("/expire", {"always": True})
    said = siege.run(*arguments, expect=None)
    siege.rig.admin("/expire", {"always": False})
    assert siege.code != 0
    assert re.search("run `az login` again", _last_line(said)), said
    siege.run(*arguments)


@pytest.mark.slow
def test_a_sign_in_that_is_missing_is_told(siege: Siege) -> None:
    said = siege.run("stages=[infra]", "azure.credential=cli", expect=None)
    assert siege.code != 0
    assert re.search("Azure CLI is not installed|`az login`", _last_line(said)), said


@pytest.mark.slow
def test_a_cluster_without_cores_is_told_before_anything_is_made(siege: Siege) -> None:
    other = ("stages=[infra]", "compute.cluster=another", "azure.workspace=another-workspace")
    siege.rig.admin("/quota", {"standardESv3Family": 0})
    since = len(siege.rig.wire())
    said = siege.run(*other, expect=None)
    siege.rig.admin("/quota", {"standardESv3Family": 1_000_000})
    assert siege.code != 0
    assert re.search(r"eastus2: .*0 of 0 cores are free and 16 are needed.*request_quota=true", _last_line(said)), said
    assert [call["path"] for call in siege.rig.wire()[since:] if call["method"] == "PUT"] == []
    refused = {"match": "PUT .*/computes/another", "status": 400, "code": "BadRequest", "message": _NO_QUOTA}
    said = siege.run_with([refused], *other, expect=None)
    assert siege.code != 0
    assert re.search(r"not enough cores: .*azure\.request_quota=true", _last_line(said)), said
    siege.run(*other)
