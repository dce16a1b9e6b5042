"""Serve a Prompt flow's page and API: the entry point of a process of its own, Prompt flow's app behind uvicorn."""

import argparse
import os
from pathlib import Path

from phi_runner import tether
from phi_runner.flow.connection import Connection, read_key
from phi_runner.flow.promptflow import client

KEY = "PHI_RUNNER_ENDPOINT_KEY"
"""Environment variable in which the page gets a key that lies in no file; an argument could be read by everybody."""


def main() -> None:
    """Serve until SIGTERM."""
    tether.stop_with_parent()
    parser = argparse.ArgumentParser()
    for name in ("folder", "home", "host", "connection", "endpoint"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    client.prepare(Path(chosen.home))
    key = read_key(chosen.key_file) if chosen.key_file else os.environ.pop(KEY)
    connection = Connection(name=chosen.connection, endpoint=chosen.endpoint, key=key)
    app = client.app(Path(chosen.folder), connection=connection)
    import uvicorn

    uvicorn.run(app, host=chosen.host, port=chosen.port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
