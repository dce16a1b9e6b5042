"""How fast the command line answers, against a bare Hydra app: `python benchmarks/startup.py [--rounds 7]`.

The commands are run in turn, round by round, so that a machine whose speed drifts slows all of them alike; the table
shows medians of the wall seconds of whole processes and their ratio to the bare app.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_BARE = """
import hydra
from omegaconf import DictConfig

@hydra.main(version_base="1.3", config_path=None)
def main(config: DictConfig) -> None: ...

main()
"""


def _seconds(command: list[str], *, folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "bare.py").write_text(_BARE)
        ours = [sys.executable, "-m", "phi_runner"]
        commands = {
            "bare Hydra app": [sys.executable, "bare.py"],
            "--help": [*ours, "--help"],
            "a typo": [*ours, "+recipie=full"],
            "--cfg job": [*ours, "+recipe=full", "--cfg", "job"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for command in commands.values():
            _seconds(command, folder=folder)  # warms the page cache, not counted
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(_seconds(command, folder=folder))
    bare = statistics.median(times["bare Hydra app"])
    print(f"{'command':16} {'median s':>9} {'min s':>7} {'max s':>7} {'ratio':>6}")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:16} {median:9.3f} {min(found):7.3f} {max(found):7.3f} {median / bare:6.2f}")


if __name__ == "__main__":
    main()
