"""The emulator's certificate authority, kept in its folder, and a certificate for whatever name a client asks for."""

import os
import ssl
from pathlib import Path

import trustme

_CA, _KEY = "ca.pem", "ca-key.pem"


def authority(folder: Path) -> tuple[trustme.CA, Path]:
    """Return the folder's authority, made when there is none, and the file with its certificate."""
    certificate, key = folder / _CA, folder / _KEY
    if certificate.exists() and key.exists():
        return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes()), certificate
    made = trustme.CA(organization_name="phi_runner rehearsal")
    _write(key, made.private_key_pem.bytes())
    _write(certificate, made.cert_pem.bytes())
    return made, certificate


def server_context(ca: trustme.CA) -> ssl.SSLContext:
    """Return a context that shows each client a certificate for the host it named."""
    made: dict[str, ssl.SSLContext] = {}

    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        host = name or "localhost"
        if host not in made:
            made[host] = _context_for(ca, host)
        connection.context = made[host]

    context = _context_for(ca, "localhost")
    context.sni_callback = choose
    return context


def write_certificate(ca: trustme.CA, *names: str, folder: Path) -> tuple[Path, Path]:
    """Write a certificate chain and its key for other servers; return the two files."""
    issued = ca.issue_cert(*names)
    chain, key = folder / "server.pem", folder / "server-key.pem"
    _write(chain, b"".join(item.bytes() for item in issued.cert_chain_pems))
    _write(key, issued.private_key_pem.bytes())
    return chain, key


def _context_for(ca: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    return context


def _write(file: Path, content: bytes) -> None:
    """Write a file whole, readable by its owner alone."""
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
    aside.replace(file)
