"""Taking away what runs have made: what the ledger holds and nothing else, in order, each looked for afterwards."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phi_runner.azureml import versions
from phi_runner.azureml.arm import pause_s
from phi_runner.azureml.client import Azure
from phi_runner.azureml.names import same
from phi_runner.azureml.wording import in_our_words
from phi_runner.errors import PhiRunnerError, RemoteFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Entry, Ledger, Made

Body = dict[str, Any]
_VERSIONS = {
    Made.role_assignment: versions.ROLE_ASSIGNMENTS,
    Made.identity: versions.IDENTITIES,
    Made.registry: versions.REGISTRIES,
    Made.app_insights: versions.APP_INSIGHTS,
    Made.log_analytics: versions.LOG_ANALYTICS,
    Made.key_vault: versions.KEY_VAULTS,
    Made.storage: versions.STORAGE,
    Made.resource_group: versions.RESOURCE_GROUPS,
}
_QUERIES = {
    Made.cluster: "?underlyingResourceAction=Delete",
    Made.workspace: "?forceToPurge=true",
    Made.hub: "?forceToPurge=true",
    Made.project: "?forceToPurge=true",
    Made.log_analytics: "?force=true",
}
"""Without these Azure keeps what was removed, and its name, for weeks."""
_WRITABLE = ("authMode", "description", "mirrorTraffic", "properties", "publicNetworkAccess")
"""What of an endpoint is sent back when its traffic is set."""
_ENDED = {"completed", "failed", "canceled", "notresponding"}
_LOOK_EVERY_S = 5.0
_AZURES_OWN = {
    "microsoft.alertsmanagement/smartdetectoralertrules",
    "microsoft.insights/actiongroups",
    "microsoft.resources/deployments",
}
"""What Azure itself puts into a resource group: alerts beside application insights, records of what was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A thing that could not be removed."""

    entry: Entry
    why: str


def remove_all(azure: Azure, *, ledger: Ledger, events: StageEvents) -> list[Left]:
    """Remove what the ledger holds of this cloud and return what is left; one failure does not keep the others."""
    left: list[Left] = []
    for entry in ledger.open():
        if entry.scope != azure.scope:
            continue
        if not ledger.holds(entry.resource):
            continue  # gone with what it lay in
        try:
            there = _remove(entry, azure=azure, ledger=ledger)
        except PhiRunnerError as err:
            left.append(Left(entry=entry, why=str(err)))
            events.warn(f"{_said(entry)} is left: {err}")
            continue
        ledger.removed(entry.resource)
        events.info(_done(entry, there=there))
    return left


def _said(entry: Entry) -> str:
    return f"{entry.kind.value.replace('_', ' ')} {entry.name}"


def _done(entry: Entry, *, there: bool) -> str:
    if entry.kind is Made.job:
        return f"cancelled {_said(entry)}" if there else f"{_said(entry)} has ended already"
    return f"removed {_said(entry)}" if there else f"{_said(entry)} is gone already"


def _remove(entry: Entry, *, azure: Azure, ledger: Ledger) -> bool:
    """Remove one thing, make sure that it is gone, and say whether it was there. Raises RemoteFailed."""
    with in_our_words(f"removing {_said(entry)}"):
        if entry.kind is Made.job:
            return _end_job(entry, azure=azure)
        api_version = _VERSIONS.get(entry.kind, versions.MACHINE_LEARNING)
        there = azure.arm.get(entry.resource, api_version=api_version) is not None
        if there:
            _clear_the_way(entry, azure=azure, ledger=ledger)
            azure.arm.delete(f"{entry.resource}{_QUERIES.get(entry.kind, '')}", api_version=api_version)
            _wait_until(
                lambda: azure.arm.get(entry.resource, api_version=api_version) is None,
                azure=azure, what=f"{_said(entry)} is still there",
            )  # fmt: skip
        if entry.kind is Made.key_vault:
            _purge(entry, azure=azure)
        return there


def _clear_the_way(entry: Entry, *, azure: Azure, ledger: Ledger) -> None:
    """Do what Azure wants done before a removal."""
    match entry.kind:
        case Made.deployment:
            _take_traffic(entry, azure=azure)
        case Made.workspace:
            _refuse_if_others_serve(entry, azure=azure)
        case Made.resource_group:
            _refuse_if_used(entry, azure=azure, ledger=ledger)
        case _:
            return


def _take_traffic(entry: Entry, *, azure: Azure) -> None:
    """Send no more requests to a deployment: Azure removes none that has traffic."""
    endpoint = re.split(r"/deployments/", entry.resource, flags=re.IGNORECASE)[0]
    found = azure.arm.get(endpoint, api_version=versions.MACHINE_LEARNING)
    if found is None:
        return
    traffic: dict[str, int] = found["properties"].get("traffic") or {}
    if traffic.get(entry.name):
        rest = {name: share for name, share in traffic.items() if name != entry.name}
        properties = {key: value for key, value in found["properties"].items() if key in _WRITABLE}
        kept: Body = {key: found[key] for key in ("location", "identity", "kind", "tags") if found.get(key)}
        kept["properties"] = properties | {"traffic": rest}
        azure.arm.put(endpoint, kept, api_version=versions.MACHINE_LEARNING)


def _refuse_if_others_serve(entry: Entry, *, azure: Azure) -> None:
    """Leave a workspace alone in which somebody else computes or serves; our own clusters and endpoints went first."""
    for kind in ("onlineEndpoints", "computes"):
        inside = azure.arm.listed(f"{entry.resource}/{kind}", api_version=versions.MACHINE_LEARNING)
        if inside:
            names = ", ".join(str(item["name"]) for item in inside)
            raise RemoteFailed(
                f"the workspace still holds {names}, which no run of this outputs folder has made or could remove: "
                f"remove that first, or everything with `az ml workspace delete -n {entry.name} --all-resources -p`"
            )


def _refuse_if_used(entry: Entry, *, azure: Azure, ledger: Ledger) -> None:
    """Leave a resource group alone that holds what no run has made, or what could not be removed."""
    inside = azure.arm.listed(f"{entry.resource}/resources", api_version=versions.RESOURCE_GROUPS)
    others = [item for item in inside if str(item.get("type", "")).lower() not in _AZURES_OWN]
    if others:
        kept = {other.resource for other in ledger.open()}
        strange = [str(item["name"]) for item in others if not any(same(str(item["id"]), one) for one in kept)]
        whose = f"holds {', '.join(strange)}, which no run has made" if strange else "is not empty yet"
        raise RemoteFailed(f"the group {whose}: remove it by hand with `az group delete -n {entry.name}`")


def _purge(entry: Entry, *, azure: Azure) -> None:
    """Give a removed key vault's name back: Azure keeps the vault, and its name, for 90 days otherwise."""
    deleted = f"{azure.ids.subscription}/providers/Microsoft.KeyVault/locations/{entry.region}/deletedVaults"
    if azure.arm.exists(f"{deleted}/{entry.name}", api_version=versions.KEY_VAULTS):
        azure.arm.post(f"{deleted}/{entry.name}/purge", {}, api_version=versions.KEY_VAULTS)


def _end_job(entry: Entry, *, azure: Azure) -> bool:
    """Cancel a job that has not ended, wait for its end, and say whether it still ran; its record stays."""

    def status() -> str:
        found = azure.arm.get(entry.resource, api_version=versions.MACHINE_LEARNING)
        return str(found["properties"].get("status") or "") if found else "gone"

    if status().lower() in {*_ENDED, "gone"}:
        return False
    azure.arm.post(f"{entry.resource}/cancel", {}, api_version=versions.MACHINE_LEARNING)
    _wait_until(
        lambda: status().lower() in {*_ENDED, "gone"}, azure=azure, what=f"job {entry.name} has not ended"
    )  # fmt: skip
    return True


def _wait_until(done: Callable[[], bool], *, azure: Azure, what: str) -> None:
    """Look until something is done; raises RemoteFailed after `azure.wait_s`."""
    deadline, pause = time.monotonic() + azure.config.wait_s, pause_s({"retry-after-ms": "100"})
    while not done():
        if time.monotonic() > deadline:
            raise RemoteFailed(f"{what} after azure.wait_s={azure.config.wait_s:g} s")
        time.sleep(pause)
        pause = min(_LOOK_EVERY_S, pause * 2)
