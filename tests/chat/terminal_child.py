"""The terminal chat as a process of its own, for tests that sit at its terminal: `URL KEY_FILE`."""

import fcntl
import sys
import termios
from pathlib import Path

from phi_runner.artifacts import Endpoint
from phi_runner.chat import terminal
from phi_runner.chat.dialogue import Dialogue
from phi_runner.config.schema import ChatConfig
from phi_runner.errors import PhiRunnerError


def main(url: str, key_file: str) -> int:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # without a controlling terminal, Ctrl-C would be a letter
    endpoint = Endpoint(
        folder=Path(), name="phi-endpoint", url=url, key_file=key_file, pid=0, model="phi/1", template_hash="0",
        detached=False,
    )  # fmt: skip
    with Dialogue(endpoint, key=Path(key_file).read_text().strip(), config=ChatConfig()) as dialogue:
        try:
            print(f"asked {terminal.talk(dialogue, votes=Path(key_file).with_name('votes.jsonl'))}")
        except PhiRunnerError as err:
            print(f"error: {err}")
            return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
