"""The ledger: on the disk before the cloud is asked, whole after a kill, one line of truth per thing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phi_runner.errors import StoreProblem
from phi_runner.ledger import Ledger, Made, Step

GROUP = "/subscriptions/s/resourceGroups/g"
CLUSTER = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/w/computes/c"
PLANS_AND_HANGS = """
import sys, time
from pathlib import Path
from phi_runner.ledger import Ledger
with Ledger(Path(sys.argv[1])).making("cluster", sys.argv[2], usd_per_hour=1.5, region="eastus2", scope="public"):
    print("planned", flush=True)
    time.sleep(60)
"""


def test_a_thing_goes_from_planned_to_made_to_removed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.open() == []
    with ledger.making("cluster", CLUSTER, usd_per_hour=1.5, region="eastus2", scope="public"):
        assert [entry.step for entry in ledger.open()] == [Step.planned]
    (entry,) = ledger.open()
    assert (entry.step, entry.kind, entry.usd_per_hour, entry.bills, entry.name) == (
        Step.made, Made.cluster, 1.5, True, "c",
    )  # fmt: skip
    ledger.removed(CLUSTER)
    assert ledger.open() == []
    assert not ledger.holds(CLUSTER)


def test_planning_again_or_in_another_spelling_writes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.plan("cluster", CLUSTER, scope="public")
    ledger.made(CLUSTER)
    before = ledger.file.read_bytes()
    ledger.plan("cluster", CLUSTER.upper(), scope="public")
    ledger.made(CLUSTER)
    ledger.removed("/subscriptions/s/resourceGroups/other")
    assert ledger.file.read_bytes() == before


def test_what_was_not_planned_is_not_ours(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.made(CLUSTER)
    assert ledger.open() == []


def test_a_failed_making_stays_planned(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(ZeroDivisionError), ledger.making("cluster", CLUSTER, scope="public"):
        raise ZeroDivisionError
    assert [entry.step for entry in ledger.open()] == [Step.planned]


def test_what_lies_inside_goes_with_it_and_groups_go_last(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for kind, resource in (("resource_group", GROUP), ("resource_group", f"{GROUP}2"), ("cluster", CLUSTER)):
        ledger.plan(kind, resource, scope="public")
    assert [entry.kind for entry in ledger.open()] == [Made.cluster, Made.resource_group, Made.resource_group]
    ledger.removed(GROUP)
    assert [entry.resource for entry in ledger.open()] == [f"{GROUP}2"]


def test_killed_between_plan_and_creation_it_stays_open(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PLANS_AND_HANGS, os.fspath(tmp_path), CLUSTER], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"planned\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert [(entry.resource, entry.step) for entry in Ledger(tmp_path).open()] == [(CLUSTER, Step.planned)]


def test_a_line_that_was_never_written_whole_is_written_over(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.plan("cluster", CLUSTER, scope="public")
    with ledger.file.open("a") as stream:
        stream.write('{"kind": "clus')
    assert len(ledger.open()) == 1
    ledger.removed(CLUSTER)
    assert [json.loads(line)["step"] for line in ledger.file.read_text().splitlines()] == ["planned", "removed"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.file.write_text('{"kind": "castle"}\n')
    with pytest.raises(StoreProblem, match=r"ledger\.jsonl, line 1 is damaged: mend or remove the line"):
        ledger.open()


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom phi_runner.ledger import Ledger\n"
        "for number in range(20):\n"
        "    Ledger(Path(sys.argv[1])).plan('job', f'/jobs/{sys.argv[2]}-{number}', scope='public')\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, os.fspath(tmp_path), name]) for name in ("a", "b", "c")
    ]
    deadline = time.monotonic() + 60
    assert [child.wait(deadline - time.monotonic()) for child in children] == [0, 0, 0]
    assert len(Ledger(tmp_path).open()) == 60
