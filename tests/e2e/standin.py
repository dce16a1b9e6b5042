"""The interpreter of an emulated node, for tests that run many jobs and containers: real results, but learnt once.

The first job of a stage is really run and what it leaves is kept; later ones leave the same. A container answers a
canned sentence in the real contracts' forms. Needs the standard library alone, so that it starts within milliseconds.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWER = "Paris."
EXECUTIONS, FAIL, SLOW = "executions.txt", "fail", "slow"
CRASH = "CRASH"
"""File with what containers print before they end at once, while it is there."""
_OUTPUTS = ("--summary", "--result", "--model-output", "--checkpoints")


def main(kept: Path, real: str, arguments: list[str]) -> int:
    """Do what Python was asked for, or something like it."""
    match arguments:
        case ["-m", "phi_runner.remote", *options]:
            return _job(kept, real, options=dict(zip(options[::2], options[1::2], strict=True)), arguments=arguments)
        case ["-m", "phi_runner.azureml.emulator.image", spec]:
            return _serve(kept, json.loads(Path(spec).read_text(encoding="utf-8")))
        case _:
            os.execv(real, [real, *arguments])


def _job(kept: Path, real: str, *, options: dict[str, str], arguments: list[str]) -> int:
    with (kept / EXECUTIONS).open("a", encoding="utf-8") as stream:
        stream.write(os.environ["AZUREML_RUN_ID"] + "\n")
    if (kept / FAIL).exists():
        sys.stdout.write("RuntimeError: the disk of the node is broken\n")
        return 3
    if (kept / SLOW).exists():
        time.sleep(600)
    home = kept / options["--stage"]
    outputs = {name: Path(options[name]) for name in _OUTPUTS if name in options}
    if not home.exists():
        done = subprocess.run([real, *arguments], stdout=subprocess.PIPE, check=False)
        sys.stdout.buffer.write(done.stdout)
        if done.returncode:
            return done.returncode
        for name, folder in outputs.items():
            shutil.copytree(folder, home.with_suffix(".part") / name)
        home.with_suffix(".part").joinpath("log").write_bytes(done.stdout)
        home.with_suffix(".part").rename(home)
        return 0
    sys.stdout.buffer.write((home / "log").read_bytes())
    for name, folder in outputs.items():
        shutil.copytree(home / name, folder, dirs_exist_ok=True)
    return 0


def invent(kept: Path) -> None:
    """Keep results that no node has made, for tests that have no time for a real one."""
    trained = {
        "base": "base", "revision": "", "trust_remote_code": False, "adapter": False, "max_length": 128,
        "parameters": 110592, "steps": 1, "loss_first": 6.0, "loss_last": 1.0, "template_hash": "a" * 64,
        "data_hash": "b" * 64, "tracking_run": "", "job": "", "job_output": "", "in_cloud": False,
    }  # fmt: skip
    files = {
        "train/--summary/artifact.json": json.dumps(trained),
        "train/--summary/history.json": json.dumps([{"step": 1.0, "loss": 1.0}]),
        "train/--summary/loss.png": "no picture",
        "train/--summary/model_requirements.txt": "azureml-ai-monitoring\nazureml-inference-server-http\n",
        "train/--result/base/config.json": "{}",
        "train/--result/model/config.json": "{}",
        "train/--model-output/MLmodel": "flavors: {}\n",
        "train/--checkpoints/none": "",
        "train/log": "",
        "evaluate/--summary/artifact.json": json.dumps(_measured(kept)),
        "evaluate/--summary/card.json": (kept / "card.json").read_text(encoding="utf-8"),
        "evaluate/--summary/answers.jsonl": "",
        "evaluate/log": "",
    }
    for name, text in files.items():
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_text(text, encoding="utf-8")


def _measured(kept: Path) -> dict[str, Any]:
    """Return the result of a measurement that says better, and leave its card in `kept`."""
    from phi_runner import task
    from phi_runner.artifacts import Scorecard
    from phi_runner.card import content
    from tests.card.cards import card, loss

    content.write(card(loss(6.0, 1.0)), folder=kept)
    return task.fields_of(
        Scorecard(
            folder=kept, rows=5, loss_before=6.0, loss_after=1.0, perplexity_before=403.0, perplexity_after=2.7,
            prompts=4, exact_before=0.0, exact_after=1.0, verdict="better",
        )
    )  # fmt: skip


class _Answerer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Be healthy."""
        self._send("Healthy")

    def do_POST(self) -> None:
        """Answer a list with a list, a dialogue with an output."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input_data"]
        self._send([ANSWER] * len(asked) if isinstance(asked, list) else {"output": ANSWER})

    def _send(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def _serve(kept: Path, spec: dict[str, Any]) -> int:
    crash = kept / CRASH
    if crash.exists():
        sys.stdout.write(crash.read_text(encoding="utf-8") + "\n")
        return 3
    threading.Thread(target=_end_with_the_emulator, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answerer)
    announce = Path(spec["announce"])
    aside = announce.with_suffix(".tmp")
    aside.write_text(str(server.server_address[1]), encoding="ascii")
    aside.replace(announce)
    server.serve_forever()
    return 0


def _end_with_the_emulator() -> None:
    os.read(int(os.environ["PHI_RUNNER_PARENT_PIPE"]), 1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
