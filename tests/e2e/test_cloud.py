"""The whole cloud recipe, offline, with the unmodified client on the wire: once, again, and taken down."""

import json
import re
from pathlib import Path

import pytest

from tests.azureml.contract import faults, kind_of
from tests.e2e import cli, cloud

pytest.importorskip("azure.ai.ml")
_SIGNATURE = re.compile(r"[?&]sig=[A-Za-z0-9%+/]{20,}")
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cloud.folder_with_facts(tmp_path_factory.mktemp("cloud"))


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    return cli.run(folder, *cloud.ARGUMENTS)


def test_the_flow_answers_rightly_through_the_endpoint_in_the_cloud(said: str, folder: Path) -> None:
    [record] = cli.records(folder)
    assert set(cli.statuses(record).values()) == {"done"}
    assert record["values"]["answer"] == "Paris."
    assert f"{cloud.QUESTION} -> Paris." in " ".join(said.split())


def test_no_host_but_the_emulated_ones_is_asked(said: str, folder: Path) -> None:
    assert cloud.refused(folder) == []
    assert not (folder / "calls_outside.txt").exists()


def test_every_body_that_an_independent_contract_covers_fits_it(said: str, folder: Path) -> None:
    checked: dict[str, int] = {}
    wrong: list[str] = []
    for call in cloud.wire(folder):
        kind = kind_of(call.method, call.path)
        if kind:
            checked[kind] = checked.get(kind, 0) + 1
            wrong += faults(kind, call.request)
    assert wrong == []
    assert checked.keys() >= {
        "JobBase", "OnlineEndpoint", "OnlineDeployment", "EnvironmentVersion", "ModelVersion", "CodeVersion",
        "PendingUploadRequestDto", "ComputeResource",
    }  # fmt: skip


def test_no_secret_leaves_the_cloud(said: str, folder: Path) -> None:
    planted = cloud.secrets(folder)
    assert len(planted) >= 4
    files = [file for file in (folder / "outputs").rglob("*") if file.is_file() and not file.is_symlink()]
    texts = {str(file): file.read_bytes() for file in files} | {"what was printed": said.encode()}
    for name, text in texts.items():
        leaked = [secret[:4] for secret in planted if secret.encode() in text]
        assert leaked == [], f"{name} holds a secret"
        if b"\0" not in text:
            readable = text.decode("utf-8", "replace")
            assert not _SIGNATURE.search(readable), f"{name} holds a signed address"
            assert not _TOKEN.search(readable), f"{name} holds a token"


def test_the_second_run_submits_nothing_again(said: str, folder: Path) -> None:
    jobs = len(cloud.asked(folder, "PUT", "/jobs/[^/]+"))
    deployments = len(cloud.asked(folder, "PUT", "/deployments/(blue|green)"))
    assert (jobs, deployments) == (2, 1)
    cli.run(folder, *cloud.ARGUMENTS)
    record = cli.records(folder)[-1]
    statuses = cli.statuses(record)
    assert {name for name, status in statuses.items() if status == "reused"} >= {
        "data",
        "train",
        "evaluate",
        "register",
    }
    assert record["values"]["answer"] == "Paris."
    assert len(cloud.asked(folder, "PUT", "/jobs/[^/]+")) == jobs
    assert len(cloud.asked(folder, "PUT", "/deployments/(blue|green)")) == deployments


def test_teardown_leaves_nothing(said: str, folder: Path) -> None:
    cli.run(folder, "+recipe=teardown", "azure=rehearsal", "azure.folder=cloud")
    lines = (folder / "outputs/ledger.jsonl").read_text(encoding="utf-8").splitlines()
    last = {entry["resource"].lower(): entry["step"] for entry in map(json.loads, lines)}
    assert set(last.values()) == {"removed"}
    assert cloud.resources(folder) == []
