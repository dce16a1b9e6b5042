"""Loaded by every Python of a guarded run: any look past loopback is written down and refused."""

import os
import sys

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""
    elif event == "socket.getaddrinfo":
        host = arguments[0] or ""
    else:
        return
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text and not text.startswith(_LOOPBACK):
        with open(os.environ["PHI_RUNNER_TEST_CALLS"], "a", encoding="utf-8") as calls:
            calls.write(f"{event} {text} by {sys.argv}\n")
        raise OSError(f"the test refuses {event} to {text}")


if "PHI_RUNNER_TEST_CALLS" in os.environ:
    sys.addaudithook(_guard)
