"""Stage teardown: it stops what runs, says so, and forgets the keys of what it stopped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner import processes
from phi_runner.config.schema import RunConfig
from phi_runner.deploy import keys
from phi_runner.errors import RemoteFailed
from phi_runner.ledger import Ledger
from phi_runner.processes import Running
from phi_runner.stages import teardown
from phi_runner.stages.stage import Inputs, RunDir
from tests.azureml.accounts import account, cluster, config_of, entered, site
from tests.azureml.rig import Rig, running
from tests.deploy.rig import Heard

SLEEPER = "import time; time.sleep(60)"


def start(folder: Path, *, kind: str, name: str) -> Running:
    """Start a process that does nothing and write it down as a server."""
    child = processes.start("sleeper", [], log=folder / "log", detach=True)
    running = Running(
        name=name, kind=kind, pid=child.pid, created=processes.created(child.pid), url=f"http://{name}", log="",
        detached=True,
    )  # fmt: skip
    processes.write_down(running, outputs=folder)
    return running


def tear_down(folder: Path, config: RunConfig | None = None) -> Heard:
    """Run the stage and return what it said."""
    heard = Heard()
    rundir = RunDir(folder=folder, outputs=folder, key="", events=heard.events)
    assert teardown.STAGE.run(config or RunConfig(), Inputs({}, {}), rundir) is None
    return heard


def test_everything_is_stopped_and_told_pages_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    started = [start(tmp_path, kind=kind, name=name) for kind, name in (("endpoint", "model"), ("flow", "page"))]
    for name in ("model", "page", "other"):
        keys.ensure(keys.file_of(name, outputs=tmp_path))

    heard = tear_down(tmp_path)

    assert not any(running.alive() for running in started)
    assert [line.split(" (pid")[0] for line in heard.lines[:-1]] == [
        "stopped flow page at http://page",
        "stopped endpoint model at http://model",
    ]
    assert {file.name for file in (tmp_path / "keys").iterdir()} == {"page.key", "other.key"}


def test_nothing_running_is_said(tmp_path: Path) -> None:
    assert tear_down(tmp_path).text.startswith(f"nothing runs for {tmp_path}")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An emulator for this module, with the environment pointing at it."""
    with running(tmp_path_factory.mktemp("cloud")) as rig, entered(rig):
        yield rig


def test_all_that_runs_have_made_in_azure_goes(rig: Rig, tmp_path: Path) -> None:
    config = config_of(account("teardown"), compute=cluster())
    site(rig, tmp_path, account("teardown")).converge(config)
    assert "nothing that runs have made is left in Azure" in tear_down(tmp_path, config).text
    assert Ledger(tmp_path).open() == []
    assert rig.admin("/state")["resources"] == []


def test_what_is_left_is_told_with_its_price_and_reason(rig: Rig, tmp_path: Path) -> None:
    config = config_of(account("left"), compute=cluster())
    site(rig, tmp_path, account("left")).converge(config)
    rig.admin("/faults", {"match": "computes/", "method": "DELETE", "times": -1, "status": 403, "message": "Locked."})
    with pytest.raises(RemoteFailed) as caught:
        tear_down(tmp_path, config)
    assert str(caught.value).startswith(
        "left in Azure: cluster cpu-e16s-v3, workspace left-ws, resource group left-rg, which may bill up to 1.01 USD "
        "an hour: removing cluster cpu-e16s-v3: this account may not do that (Locked.): ask for the role Contributor"
    )
    assert str(caught.value).endswith("; the same command tries again")
    rig.admin("/clear", {})
    tear_down(tmp_path, config)
    assert Ledger(tmp_path).open() == []


def test_another_clouds_things_are_left_and_their_command_is_named(tmp_path: Path) -> None:
    Ledger(tmp_path).plan("cluster", "/subscriptions/s/computes/c", usd_per_hour=2.0, scope="public")
    with pytest.raises(RemoteFailed) as caught:
        tear_down(tmp_path, config_of(account("elsewhere")))
    assert str(caught.value) == (
        "left in Azure: cluster c, which may bill up to 2.00 USD an hour: run python -m phi_runner +recipe=teardown "
        "azure=account azure.cloud=public"
    )


def test_the_subscription_comes_from_the_ledger_where_none_is_typed(rig: Rig, tmp_path: Path) -> None:
    azure = account("unnamed")
    site(rig, tmp_path, azure).converge(config_of(azure))
    tear_down(tmp_path, config_of(account("unnamed", subscription="")))
    assert Ledger(tmp_path).open() == []
