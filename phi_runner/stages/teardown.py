"""Stage `teardown`: stop every server that runs have left, and remove everything that they have made in Azure."""

from dataclasses import replace

from phi_runner import processes
from phi_runner.config.schema import AzureConfig, RunConfig, StageName
from phi_runner.errors import RemoteFailed
from phi_runner.ledger import Entry, Ledger
from phi_runner.stages.stage import Inputs, RunDir, Stage

_MOST_TOLD = 5


def run(config: RunConfig, _inputs: Inputs, rundir: RunDir) -> None:
    """Stop what runs here, then remove what the ledger holds; raises RemoteFailed while anything is left."""
    _stop_servers(rundir)
    ledger = Ledger(rundir.outputs)
    entries = ledger.open()
    if not entries:
        rundir.events.info(f"runs of {rundir.outputs} have left nothing in Azure")
    else:
        _remove(config, entries, ledger=ledger, rundir=rundir)


def _stop_servers(rundir: RunDir) -> None:
    """Stop what runs, flow pages before the endpoints that they ask."""
    from phi_runner.deploy import local

    running = sorted(processes.listed(outputs=rundir.outputs), key=lambda item: item.kind == local.KIND)
    if not running:
        rundir.events.info(f"nothing runs for {rundir.outputs}")
    for item in running:
        processes.stop_recorded(item, outputs=rundir.outputs)
        if item.kind == local.KIND:
            local.forget(item.name, outputs=rundir.outputs)
        rundir.events.info(
            f"stopped {item.kind} {item.name} at {item.url} (pid {item.pid})", pid=item.pid, url=item.url
        )


def _remove(config: RunConfig, entries: list[Entry], *, ledger: Ledger, rundir: RunDir) -> None:
    from phi_runner.azureml import client, removal
    from phi_runner.deploy import history

    scope = client.scope_of(config.azure)
    why: dict[str, str] = {}
    if any(entry.scope == scope for entry in entries):
        azure = client.connect(_account_of(entries, config.azure, scope=scope), tell=rundir.events.warn)
        why = {left.entry.resource: left.why for left in removal.remove_all(azure, ledger=ledger, events=rundir.events)}
    left = ledger.open()
    if left:
        raise RemoteFailed(_told(left, why=why, scope=scope))
    history.forget("azure", outputs=rundir.outputs)
    rundir.events.info("nothing that runs have made is left in Azure")


def _account_of(entries: list[Entry], config: AzureConfig, *, scope: str) -> AzureConfig:
    """Return the config with the ledger's subscription where none is typed: the ledger knows whose things they are."""
    if config.subscription:
        return config
    subscriptions = [entry.resource.split("/")[2] for entry in entries if entry.scope == scope]
    return replace(config, subscription=subscriptions[0])


def _told(left: list[Entry], *, why: dict[str, str], scope: str) -> str:
    elsewhere = sorted({entry.scope for entry in left if entry.scope != scope})
    named = [f"{entry.kind.value.replace('_', ' ')} {entry.name}" for entry in left[:_MOST_TOLD]]
    more = f" and {len(left) - len(named)} more" if len(left) > len(named) else ""
    bills = sum(entry.usd_per_hour for entry in left)
    cost = f", which may bill up to {bills:.2f} USD an hour" if bills else ""
    first = next(iter(why.values()), "")
    reason = f": {first}" if first else ""
    if elsewhere and not why:
        kind, _, which = elsewhere[0].partition(":")
        cloud = f"azure=account azure.cloud={kind}"
        if kind == "rehearsal":
            cloud = f"azure=rehearsal azure.folder={which}" if which else "azure=rehearsal"
        return f"left in Azure: {', '.join(named)}{more}{cost}: run python -m phi_runner +recipe=teardown {cloud}"
    again = "the same command tries again"
    return f"left in Azure: {', '.join(named)}{more}{cost}{reason}; {again}"


STAGE = Stage(
    name=StageName.teardown,
    about="stop every endpoint and flow page, and remove what runs have made in Azure",
    run=run,
    produces=None,
    pure=False,
)
