"""Fine-tuning jobs of the model catalog: their request is checked for real, their training is simulated."""

import json
from typing import Any

from phi_runner.azureml.emulator import assets, places
from phi_runner.azureml.emulator.cloud import Body, Cloud, now
from phi_runner.azureml.emulator.job_files import JobFailed, JobFiles, artifacts_of
from phi_runner.azureml.emulator.places import ARTIFACTS, BLOBS

_MLMODEL = """flavors:
  python_function:
    loader_module: phi_runner.simulated
    simulated: 'true'
metadata:
  simulated: true
  base_model_asset_id: {base}
  finetuning_task: chat-completion
"""


def run(cloud: Cloud, files: JobFiles) -> None:
    """Check a fine-tuning job, write its log and its stand-in for a model, register that; raises JobFailed."""
    details = files.body.get("fineTuningDetails") or {}
    _check(details)
    counted = {
        name: _rows(cloud, files, details.get(name) or {}, name=name)
        for name in ("trainingData", "validationData")
        if details.get(name)
    }
    base = details["model"]["uri"]
    log = "\n".join(
        [
            f"{now()} this fine-tuning is simulated: nothing is trained",
            f"{now()} model: {base}",
            *(f"{now()} {name}: {rows} dialogues" for name, rows in counted.items()),
            f"{now()} hyperparameters: {json.dumps(details.get('hyperParameters') or {}, sort_keys=True)}",
            "",
        ]
    )
    cloud.blobs.write(ARTIFACTS, f"{artifacts_of(files.job)}/user_logs/std_log.txt", log.encode())
    for name, asked in (files.body.get("outputs") or {}).items():
        _model(cloud, files, name=name, asked=asked, base=base)


def _check(details: Body) -> None:
    if str(details.get("taskType", "")).lower() != "chatcompletion":
        raise JobFailed("UserError", f"taskType {details.get('taskType')} is not emulated: chatCompletion is.")
    if not (details.get("model") or {}).get("uri"):
        raise JobFailed("UserError", "fineTuningDetails.model.uri is missing.")
    wrong = [
        name
        for name, value in (details.get("hyperParameters") or {}).items()
        if not isinstance(value, str)
    ]  # fmt: skip
    if wrong:
        raise JobFailed("UserError", f"hyperParameters must be strings, {wrong[0]} is not.")
    if not details.get("trainingData"):
        raise JobFailed("UserError", "fineTuningDetails.trainingData is missing.")


def _rows(cloud: Cloud, files: JobFiles, asked: Body, *, name: str) -> int:
    """Return how many dialogues a data set has; raises JobFailed when one is none."""
    uri = str(asked.get("uri", ""))
    place = places.locate(cloud, workspace=files.workspace, uri=uri)
    found = places.fetch(cloud, place, files.folder / name) if place else None
    if found is None or not found.is_file():
        raise JobFailed("UserError", f"{name}: {uri} cannot be read.")
    count = 0
    for number, line in enumerate(found.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            _dialogue(line, where=f"{name}: line {number} of {found.name}")
            count += 1
    if not count:
        raise JobFailed("UserError", f"{name}: {found.name} is empty.")
    return count


def _dialogue(line: str, *, where: str) -> None:
    try:
        row: Any = json.loads(line)
    except ValueError as err:
        raise JobFailed("UserError", f"{where} is no JSON: {err}.") from err
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        raise JobFailed("UserError", f"{where} has no 'messages'.")
    for message in messages:
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise JobFailed("UserError", f"{where} has a message without role or content.")


def _model(cloud: Cloud, files: JobFiles, *, name: str, asked: Body, base: str) -> None:
    where = f"azureml/{files.job}/{name}"
    cloud.blobs.write(BLOBS, f"{where}/MLmodel", _MLMODEL.format(base=base).encode())
    cloud.blobs.write(BLOBS, f"{where}/SIMULATED", b"The emulator made this folder; it holds no weights.\n")
    if asked.get("assetName"):
        uri = places.long_uri(files.workspace, "workspaceblobstore", where)
        assets.register_model(cloud, workspace=files.workspace, name=str(asked["assetName"]), uri=uri, job=files.job)
