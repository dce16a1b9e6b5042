"""`python -m phi_runner.compute.launcher ...`: torchrun's agent for one node, tied to the process that started it.

On a single node the processes meet over a store that listens on loopback alone; torchrun's own listens everywhere.
"""

import argparse
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from phi_runner import processes

_LOOPBACK = "127.0.0.1"
_BACKEND = "loopback"
_WORKER = "phi_runner.worker"
_MEETING_S = 600
_LAST_WORDS_S = 45
"""Time between SIGTERM and SIGKILL: enough to write a checkpoint."""


def _arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m phi_runner.compute.launcher", description=__doc__)
    parser.add_argument("--processes", required=True, type=int, help="how many on this node")
    parser.add_argument("--restarts", default=0, type=int)
    parser.add_argument("--nodes", default=1, type=int)
    parser.add_argument("--meet-at", default="", help="HOST:PORT of the first node, where there are several")
    parser.add_argument("--first-node", action="store_true", help="this node is the one that the others meet at")
    parser.add_argument("--name", default="phi_runner")
    return parser.parse_known_args(argv)


def _on_loopback(parameters: Any) -> Any:
    """Return torchrun's meeting of a single node over stores that listen on loopback, each at a free port."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # exported, says its documentation
    from torch.distributed.elastic.rendezvous import RendezvousInfo, RendezvousStoreInfo
    from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

    class Loopback(StaticTCPRendezvous):
        def get_backend(self) -> str:
            return _BACKEND

        def next_rendezvous(self) -> RendezvousInfo:
            """Open a store for every start: processes that start again would find what the lost ones had written."""
            listening = socket.create_server((_LOOPBACK, 0))
            port = int(listening.getsockname()[1])
            store = TCPStore(
                _LOOPBACK, port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=_MEETING_S),
                master_listen_fd=listening.detach(),
            )  # fmt: skip
            return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(_LOOPBACK, port))

    return Loopback(_LOOPBACK, 0, 0, 1, parameters.run_id, _MEETING_S)


def _config(given: argparse.Namespace) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.rendezvous import rendezvous_handler_registry
    from torch.distributed.launcher.api import LaunchConfig

    alone = given.nodes == 1
    if alone:
        rendezvous_handler_registry.register(_BACKEND, _on_loopback)
    return LaunchConfig(
        min_nodes=given.nodes, max_nodes=given.nodes, nproc_per_node=given.processes, run_id=given.name,
        rdzv_backend=_BACKEND if alone else "c10d", rdzv_endpoint=given.meet_at,
        rdzv_configs={"timeout": _MEETING_S} | ({} if alone else {"is_host": given.first_node}),
        max_restarts=given.restarts, local_addr=_LOOPBACK if alone else None, logs_specs=DefaultLogsSpecs(),
        shutdown_timeout=_LAST_WORDS_S,
    )  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Start the workers, again when one is lost, and return 0 when all have ended well."""
    processes.stop_with_parent()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm warns a whole job; only its first process has to act
    given, worker = _arguments(argv)

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    try:
        elastic_launch(_config(given), sys.executable)("-u", "-m", _WORKER, *worker)
    except ChildFailedError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    except SignalException as err:
        return 128 + int(err.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
