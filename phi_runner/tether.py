"""End this process with the runner that started it; standard library alone, so that any interpreter can run it.

`python tether.py SCRIPT ARGUMENTS` runs a script under the watch, in an environment where phi_runner is not installed.
"""

import os
import runpy
import signal
import sys
import threading

WATCHED_FD = "PHI_RUNNER_PARENT_PIPE"
"""Environment variable with the number of a pipe's read end, whose write end only the runner has."""
LET_GO = b"."


def stop_with_parent() -> None:
    """End this process when the runner that started it is gone; called by a server's entry point. No-op if detached."""
    descriptor = os.environ.pop(WATCHED_FD, "")
    if not descriptor:
        return

    def watch() -> None:
        if os.read(int(descriptor), 1) != LET_GO:  # nothing comes when the other end is closed
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> None:
    """Run the script that the command line names, as its interpreter would."""
    stop_with_parent()
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
