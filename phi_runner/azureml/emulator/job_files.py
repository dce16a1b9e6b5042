"""A job's folder on the emulated node: code and inputs brought there, outputs and logs taken away."""

import json
import os
import re
import shutil
import signal
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phi_runner.azureml.emulator import assets, job_process, node, places
from phi_runner.azureml.emulator.cloud import Body, Cloud
from phi_runner.azureml.emulator.job_process import EXIT, PROCESS, SPEC, Spec
from phi_runner.azureml.emulator.places import ARTIFACTS, BLOBS, Place
from phi_runner.processes import Running

_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]")
_HOLE = re.compile(r"\$\{\{(?:parent\.)?(inputs|outputs|search_space)\.([A-Za-z0-9_]+)\}\}")


class JobFailed(Exception):
    """A job that ends without success; `code` is UserError or ServiceError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def artifacts_of(job: str) -> str:
    """Return where a job's logs and default outputs are in the artifact store."""
    return f"ExperimentRun/dcid.{job}"


class JobFiles:
    """The folder of one job."""

    def __init__(self, cloud: Cloud, path: str) -> None:
        """Take the job at an ARM path; nothing is made yet."""
        self.cloud, self.path = cloud, path
        self.workspace, self.job = path.rsplit("/jobs/", 1)
        self.folder = cloud.folder / "jobs" / self.job
        self._sent: dict[str, int] = {}

    @property
    def body(self) -> Body:
        """What the job's resource says."""
        found: Body = (self.cloud.get(self.path) or {}).get("properties", {})
        return found

    def codes(self) -> list[int] | None:
        """Return the exit codes of the job's processes, None while there are none."""
        found = _read(self.folder / EXIT)
        return None if found is None else list(found["codes"])

    def process(self) -> Running | None:
        """Return the process that runs the job, if it lives."""
        found = _read(self.folder / PROCESS)
        if found is None:
            return None
        running = Running(
            name=self.job, kind="job", pid=found["pid"], created=found["created"], url="", log="", detached=True
        )
        return running if running.alive() else None

    def clear(self) -> None:
        """Remove what an interrupted attempt left, its processes too."""
        if found := _read(self.folder / PROCESS):
            with suppress(ProcessLookupError, PermissionError):  # the leader is gone, its children may not be
                os.killpg(found["pid"], signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> None:
        """Bring code and inputs, and write down what to run; raises JobFailed."""
        body = self.body
        code = self.folder / "code"
        code.mkdir(parents=True)
        if body.get("codeId"):
            self._fetch(str(body["codeId"]), code, what="code")
        values = {f"inputs.{name}": self._input(name, asked) for name, asked in (body.get("inputs") or {}).items()}
        for name, asked in (body.get("outputs") or {}).items():
            values[f"outputs.{name}"] = self._output(name, asked)
        named = {f"AZURE_ML_{key.replace('.', '_').upper()}": value for key, value in values.items()}
        named = {key.replace("INPUTS", "INPUT").replace("OUTPUTS", "OUTPUT"): value for key, value in named.items()}
        ranks = _ranks(body)
        logs = self.folder / "logs"
        logs.mkdir()
        names = ["std_log.txt"] if len(ranks) == 1 else [f"std_log_process_{rank}.txt" for rank in range(len(ranks))]
        spec = Spec(
            command=fill(str(body.get("command", "")), values), cwd=str(code),
            environment=self._environment() | named | _variables(body), ranks=ranks,
            logs=[str(logs / name) for name in names],
        )  # fmt: skip
        job_process.write(self.folder / SPEC, asdict(spec))

    def _environment(self) -> dict[str, str]:
        parts = self.workspace.split("/")
        return node.environment(self.cloud.settings.python, folder=self.folder / "bin") | {
            "AZUREML_RUN_ID": self.job,
            "AZUREML_ROOT_RUN_ID": self.job,
            "AZUREML_ARM_SUBSCRIPTION": parts[2],
            "AZUREML_ARM_RESOURCEGROUP": parts[4],
            "AZUREML_ARM_WORKSPACE_NAME": parts[8],
            "AZUREML_ARM_PROJECT_NAME": str(self.body.get("experimentName", "Default")),
            # the service's own tracking store is not emulated; MLflow 3 takes a folder only when told to
            "MLFLOW_TRACKING_URI": (self.folder / "mlruns").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }

    def _fetch(self, uri: str, target: Path, *, what: str) -> Path:
        place = places.locate(self.cloud, workspace=self.workspace, uri=uri)
        found = places.fetch(self.cloud, place, target) if place else None
        if found is None:
            raise JobFailed("UserError", f"The {what} cannot be mounted: {uri} does not exist.")
        return found

    def _input(self, name: str, asked: Body) -> str:
        if asked.get("jobInputType", "").lower() == "literal":
            return str(asked.get("value", ""))
        return str(self._fetch(str(asked.get("uri", "")), self.folder / "inputs" / name, what=f"input '{name}'"))

    def _output(self, name: str, asked: Body) -> str:
        target = self.folder / "outputs" / name
        target.mkdir(parents=True)
        return str(target / name if asked.get("jobOutputType", "").lower() == "uri_file" else target)

    def send_logs(self) -> None:
        """Bring the logs in the artifact store up to date."""
        for file in sorted((self.folder / "logs").glob("*.txt")):
            data = file.read_bytes()
            if self._sent.get(file.name) != len(data):
                self.cloud.blobs.write(ARTIFACTS, f"{artifacts_of(self.job)}/user_logs/{file.name}", data)
                self._sent[file.name] = len(data)

    def tail(self, *, characters: int = 300) -> str:
        """Return the end of the log of the process that failed, or of the only one."""
        codes = self.codes() or [0]
        failed = next((rank for rank, code in enumerate(codes) if code), 0)
        files = sorted((self.folder / "logs").glob("*.txt"), key=lambda file: (len(file.name), file.name))
        return files[failed].read_text(encoding="utf-8", errors="replace")[-characters:] if files else ""

    def send_outputs(self) -> None:
        """Upload what the job has written to its outputs."""
        self.cloud.blobs.upload(self.folder / "code" / "outputs", ARTIFACTS, f"{artifacts_of(self.job)}/outputs")
        for name, asked in (self.body.get("outputs") or {}).items():
            place = Place(container=BLOBS, path=f"azureml/{self.job}/{name}")
            if asked.get("uri"):
                uri = str(asked["uri"]).replace("${{name}}", self.job)
                place = places.locate(self.cloud, workspace=self.workspace, uri=uri) or place
            self.cloud.blobs.upload(self.folder / "outputs" / name, place.container, place.path)
            if asked.get("assetName") and "mlflow" in asked.get("jobOutputType", "").lower():
                uri = places.long_uri(self.workspace, "workspaceblobstore", place.path)
                name = str(asked["assetName"])
                assets.register_model(self.cloud, workspace=self.workspace, name=name, uri=uri, job=self.job)


def fill(command: str, values: dict[str, str]) -> str:
    """Return a command with its inputs and outputs; a part in `$[[ ]]` goes when one of its inputs is not given."""

    def optional(part: re.Match[str]) -> str:
        return part[1] if all(f"{kind}.{name}" in values for kind, name in _HOLE.findall(part[1])) else ""

    return _HOLE.sub(lambda hole: values.get(f"{hole[1]}.{hole[2]}", hole[0]), _OPTIONAL.sub(optional, command))


def _variables(body: Body) -> dict[str, str]:
    return {str(name): str(value) for name, value in (body.get("environmentVariables") or {}).items()}


def _ranks(body: Body) -> list[dict[str, str]]:
    """Return the variables that tell each process of a distributed job who it is."""
    nodes = int((body.get("resources") or {}).get("instanceCount") or 1)
    distribution = body.get("distribution") or {}
    if distribution.get("distributionType", "").lower() != "pytorch":
        return [{}]  # without a distribution, a job's command runs on one node whatever their number
    each = int(distribution.get("processCountPerInstance") or 1)
    return [
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank % each),
            "NODE_RANK": str(rank // each),
            "WORLD_SIZE": str(nodes * each),
            "LOCAL_WORLD_SIZE": str(each),
            "MASTER_ADDR": "127.0.0.1",
        }
        for rank in range(nodes * each)
    ]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found
