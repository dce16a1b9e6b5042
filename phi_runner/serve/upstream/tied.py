"""`python -m phi_runner.serve.upstream.tied FOLDER COMMAND...`: run a server that ends when our standard input does.

Whoever starts us holds the other end of that pipe: when it goes, however it goes, the pipe closes. A server that is
not ours cannot be asked to watch it, so this process does; it removes FOLDER, where the server's socket is, at last.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from types import FrameType

from phi_runner import processes

GRACE_S = 5.0
"""How long the server may take to end by itself."""


def main() -> int:
    """Run the command that the arguments spell; return its exit code, as a shell reports it."""
    folder, *command = sys.argv[1:]
    # no thread runs yet: what is done between fork and exec cannot wait for another's lock
    server = subprocess.Popen(  # noqa: S603 - the engine's own command
        command, stdin=subprocess.DEVNULL, preexec_fn=processes.die_with_parent
    )

    def end(_number: int, _frame: FrameType | None) -> None:
        server.terminate()
        last = threading.Timer(GRACE_S, _kill, (folder,))
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=_watch, daemon=True).start()
    code = server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _kill(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
