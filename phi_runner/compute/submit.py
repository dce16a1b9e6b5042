"""`python -m phi_runner.compute.submit FILE`: hand a job to submitit and write its number down.

In a process and session of its own: no Ctrl-C and no kill of the runner comes between the submission and its record.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from phi_runner import processes
from phi_runner.compute.job import NodeJob


def main(file: Path) -> int:
    """Submit what `file` describes and leave its record where it says."""
    import submitit

    told = json.loads(file.read_text(encoding="utf-8"))
    kinds: dict[str, Any] = {"slurm": submitit.SlurmExecutor, "local": submitit.LocalExecutor}
    executor = kinds[told["executor"]](folder=told["folder"], max_num_timeout=told["job"]["restarts"])
    executor.update_parameters(**told["parameters"])
    job = executor.submit(NodeJob(**told["job"]))
    created = processes.created(int(job.job_id)) if told["executor"] == "local" else 0.0
    record = Path(told["record"])
    aside = record.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({"id": str(job.job_id), "executor": told["executor"], "created": created}) + "\n")
    aside.replace(record)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
