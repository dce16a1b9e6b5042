"""What `teardown` would stop on this machine and remove in Azure: the running servers and the open ledger."""

from pathlib import Path

from phi_runner import processes
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.ledger import Entry, Made
from phi_runner.plan.document import Action, Effect, Where

_ENDPOINT = "endpoint"
_REHEARSED = "rehearsal"


def effects(config: RunConfig, *, ledger: list[Entry], outputs: Path) -> list[Effect]:
    """Return everything in the order in which the stage takes it away; what lies in another cloud is left."""
    from phi_runner.azureml.client import scope_of  # only this stage needs it

    running = sorted(processes.seen(outputs=outputs), key=lambda item: item.kind == _ENDPOINT)
    stopped = [
        Effect(
            action=Action.stop, where=Where.here, kind=item.kind, name=item.name, stage=StageName.teardown,
            note=f"pid {item.pid}, {item.url}",
        )
        for item in running
    ]  # fmt: skip
    scope = scope_of(config.azure)
    return stopped + [_removed(entry, ours=entry.scope == scope) for entry in ledger]


def _removed(entry: Entry, *, ours: bool) -> Effect:
    where = Where.rehearsal if entry.scope.startswith(_REHEARSED) else Where.azure
    note = "if it is there" if ours else f"it lies in another cloud: {entry.scope}"
    action = (Action.stop if entry.kind is Made.job else Action.delete) if ours else Action.leave
    return Effect(
        action=action, where=where, kind=entry.kind.value.replace("_", " "), name=entry.name,
        stage=StageName.teardown, note=note, usd_per_hour=entry.usd_per_hour,
    )  # fmt: skip
