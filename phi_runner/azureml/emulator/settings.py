"""What an emulator is told at its start, and what a client's process needs in its environment to reach it."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from phi_runner.azureml.emulator.cloud import TENANT

CLIENT_ID = "33333333-3333-3333-3333-333333333333"
"""The application that signs in; its secret is `sign-in` in the cloud folder's secrets.json."""
SUBSCRIPTION = "00000000-0000-0000-0000-00000000feed"
STORAGE_ACCOUNT = "phirunnerstorage"
"""The account whose name stands in addresses that the emulator makes for itself."""
ADMIN_HOST = "admin.phi-runner.invalid"
SIGN_IN = "sign-in"
_NOT_PROXIED = "127.0.0.1,localhost,::1"
_FAMILIES = {
    "standardNCADSA100v4Family": 24,
    "standardNCADSH100v5Family": 40,
    "standardNCASv3_T4Family": 8,
    "standardNCSv3Family": 6,
    "standardNDASv4_A100Family": 0,
    "standardDSv2Family": 100,
    "standardESv3Family": 100,
    "standardFSv2Family": 100,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One emulator: where it keeps its state, how fast it is, what it grants."""

    folder: Path
    """State, secrets, blobs and the authority's key; readable by the owner alone."""
    announce: Path
    """Written when the emulator can be used: its proxy, its authority's certificate and its pid."""
    wire_log: Path
    """One JSON line per call, without secrets."""
    operation_s: float = 0.3
    """The shortest time that an operation of the control plane takes."""
    blobs: str = "auto"
    """`builtin`, `azurite` or `auto`, which is builtin."""
    python: str = sys.executable
    """Interpreter of jobs and deployments."""
    port: int = 0
    """Of the proxy; 0 is any free one."""
    region: str = "eastus2"
    subscription: str = SUBSCRIPTION
    quota: dict[str, int] = field(default_factory=lambda: dict(_FAMILIES))
    """Cores by family that the subscription has at the start."""


def client_environment(announce: Path, *, folder: Path) -> dict[str, str]:
    """Return the variables that make the unmodified clients in a process talk to the emulator, signed in to it."""
    found = json.loads(announce.read_text(encoding="utf-8"))
    secrets = json.loads((folder / "secrets.json").read_text(encoding="utf-8"))
    environment = {
        "REQUESTS_CA_BUNDLE": found["ca"],
        "CURL_CA_BUNDLE": found["ca"],
        "SSL_CERT_FILE": found["ca"],
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT_ID,
        "AZURE_CLIENT_SECRET": secrets[SIGN_IN],
    }
    for name, value in (("HTTPS_PROXY", found["proxy"]), ("HTTP_PROXY", found["proxy"]), ("NO_PROXY", _NOT_PROXIED)):
        environment |= {name: value, name.lower(): value}  # requests prefers the lower-case ones
    return environment
