"""The storage account as the emulator itself uses it: jobs, code and models, over the public storage client."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from phi_runner.azureml.emulator.settings import STORAGE_ACCOUNT

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

SUFFIX = "blob.core.windows.net"
_SAS_LIFE = timedelta(hours=12)


def account_key(secret: str) -> str:
    """Return the storage key that belongs to a secret: 64 bytes in base64, as Azure's are."""
    return base64.b64encode(hashlib.sha512(secret.encode()).digest()).decode()


class Blobs:
    """One storage account, reached as any client reaches it: through the proxy, under its public name."""

    def __init__(self, *, key: str, proxy: str, ca: Path, fixed_account: bool = False) -> None:
        """Use `key`; with `fixed_account` the server knows one account's name only."""
        self.key, self._proxy, self._ca = key, proxy, ca
        self._fixed = fixed_account
        self._containers: dict[str, ContainerClient] = {}

    def account_for(self, storage_account: str) -> str:
        """Return the name under which a storage account of the control plane is served."""
        return STORAGE_ACCOUNT if self._fixed else storage_account.lower()

    def make_container(self, name: str) -> None:
        """Make a container that may be there already."""
        from azure.core.exceptions import ResourceExistsError

        try:
            self._container(name).create_container()
        except ResourceExistsError:
            return

    def read(self, container: str, name: str) -> bytes:
        """Return a blob's content; raises azure.core.exceptions.ResourceNotFoundError."""
        content: bytes = self._container(container).download_blob(name).readall()
        return content

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a blob over whatever was there."""
        self._container(container).upload_blob(name, data, overwrite=True)

    def names(self, container: str, prefix: str) -> list[str]:
        """Return the names of the blobs that start with a prefix."""
        return list(self._container(container).list_blob_names(name_starts_with=prefix))

    def download(self, container: str, prefix: str, folder: Path) -> int:
        """Write the blobs at or below a prefix into a folder; return how many there were.

        A blob named exactly like the prefix becomes a file with the last part of its name.
        """
        stem, client, count = prefix.strip("/"), self._container(container), 0
        for name in self.names(container, stem):
            if stem and name != stem and not name.startswith(f"{stem}/"):
                continue  # a neighbour: `model_output2` beside `model_output`
            target = (folder / (name.removeprefix(stem).strip("/") or Path(name).name)).resolve()
            if not target.is_relative_to(folder.resolve()) or name.endswith("/"):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                client.download_blob(name).readinto(stream)
            count += 1
        return count

    def upload(self, folder: Path, container: str, prefix: str) -> int:
        """Write a folder's files to blobs below a prefix; return how many there were."""
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            name = f"{prefix.strip('/')}/{file.relative_to(folder).as_posix()}".lstrip("/")
            with file.open("rb") as stream:
                self._container(container).upload_blob(name, stream, overwrite=True)
        return len(files)

    def sas_url(self, container: str, blob: str | None, permissions: str) -> str:
        """Return the public URL of a blob or a container, with a signature for some hours."""
        from azure.storage.blob import generate_blob_sas, generate_container_sas

        until, account = datetime.now(UTC) + _SAS_LIFE, STORAGE_ACCOUNT
        base = f"https://{account}.{SUFFIX}/{container}"
        if blob is None:
            signed = generate_container_sas(
                account, container, account_key=self.key, permission=permissions, expiry=until
            )
            return f"{base}?{signed}"
        signed = generate_blob_sas(account, container, blob, account_key=self.key, permission=permissions, expiry=until)
        return f"{base}/{quote(blob)}?{signed}"

    def account_sas(self, account: str) -> str:
        """Return a signature for all containers of an account, with its question mark, as the service writes it."""
        from azure.storage.blob import generate_account_sas

        until = datetime.now(UTC) + _SAS_LIFE
        signed: str = generate_account_sas(account, self.key, resource_types="sco", permission="rwdlacup", expiry=until)
        return f"?{signed}"

    def _container(self, name: str) -> "ContainerClient":
        if name not in self._containers:
            from azure.storage.blob import ContainerClient

            self._containers[name] = ContainerClient(
                f"https://{STORAGE_ACCOUNT}.{SUFFIX}", name, credential=self.key,
                proxies={"https": self._proxy}, connection_verify=str(self._ca), use_env_settings=False,
                user_agent="emulator",
            )  # fmt: skip
        return self._containers[name]
