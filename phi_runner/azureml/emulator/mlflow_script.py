"""What the no-code MLflow image runs: a model loaded by MLflow behind `run(input_data, params=None)`.

Written after the platform's own mlflow_score_script, whose traps it keeps: it does not boot unless the model's
environment has azureml-ai-monitoring, and a model whose signature is a list of strings refuses everything else.
"""

import importlib
import json
import logging
import os
from pathlib import Path
from typing import Any

_MONITORING = "azureml-ai-monitoring"
_NO_SAMPLE: object = object()
_log = logging.getLogger("mlflow_score_script")


class BadInput(Exception):
    """A body without what `run` needs."""


class Script:
    """The scoring script around one MLflow model."""

    def __init__(self, folder: Path) -> None:
        """Load the model; raises ModuleNotFoundError as the platform's script does."""
        _require_monitoring(folder)
        from mlflow.models import Model

        described = Model.load(str(folder))
        self._transformers = "transformers" in described.flavors
        self._simulated = bool((described.metadata or {}).get("simulated"))
        self._sample: Any = _NO_SAMPLE
        self._params: Any = None
        if self._transformers:
            self._sample, self._params = _samples(described.signature)
        if not self._simulated:
            from mlflow.pyfunc import load_model

            _log.info("loading model from model path: %s", folder)
            self._model: Any = load_model(str(folder))

    def arguments(self, body: bytes, *, content_type: str) -> dict[str, Any]:
        """Return the arguments of `run` from a request's body; raises BadInput."""
        if "json" not in content_type:
            raise BadInput("Expects Content-Type to be application/json")
        if not body:
            raise BadInput("POST body is empty. Expecting a JSON dictionary.")
        try:
            found = json.loads(body)
        except ValueError as err:
            raise BadInput(f"POST body could not be decoded as JSON: {err}") from err
        if not isinstance(found, dict):
            raise BadInput("POST body should be a JSON dictionary.")
        if "input_data" not in found:
            raise BadInput("A value is not provided for the 'input_data' parameter.")
        return {"input_data": found["input_data"], "params": found.get("params")}

    def run(self, input_data: Any, params: Any = None) -> Any:
        """Answer one request; what it returns is written as JSON."""
        if self._simulated:
            return {"output": "This model is simulated: nothing was trained, nothing is known."}
        if self._sample is not _NO_SAMPLE and not isinstance(input_data, type(self._sample)):
            raise TypeError(
                "Invalid input data type to parse. Expected: "
                f"{type(self._sample)} but got {type(input_data)}"
            )  # fmt: skip
        if params is not None and self._params is not None and not isinstance(params, dict):
            raise TypeError(f"Invalid input data type to parse. Expected: {dict} but got {type(params)}")
        if params is None and self._transformers and "parameters" in input_data:
            input_data = dict(input_data)  # the form of the older hftransformers images
            params = input_data.pop("parameters")
            if list(input_data) == ["input_string"]:
                input_data = input_data["input_string"]
        from mlflow.pyfunc.scoring_server import _get_jsonable_obj

        answer = self._model.predict(_model_input(input_data, text=self._transformers), params=params)
        return _get_jsonable_obj(answer, pandas_orient="records")


def _require_monitoring(folder: Path) -> None:
    """Refuse a model whose environment lacks the package that the platform's script imports first."""
    for name in ("conda.yaml", "requirements.txt"):
        file = folder / name
        if file.exists():
            if _MONITORING in file.read_text(encoding="utf-8").replace("_", "-"):
                return
            break
    if "simulated: true" in (folder / "MLmodel").read_text(encoding="utf-8"):
        return
    _log.error("from azureml.ai.monitoring import Collector")
    raise ModuleNotFoundError("No module named 'azureml'", name="azureml")


def _samples(signature: Any) -> tuple[Any, Any]:
    """Return the samples that the input and the parameters are checked against."""
    if signature is None or signature.inputs is None:
        return _NO_SAMPLE, None
    names = signature.inputs.input_names() if signature.inputs.has_input_names() else []
    sample: Any = dict.fromkeys(names, "") if names else ["sample string"]
    return sample, {} if getattr(signature, "params", None) else None


def _model_input(data: Any, *, text: bool) -> Any:
    """Return a request's input as the model is given it."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            return data
    if isinstance(data, dict) and {"columns", "index", "data"} <= data.keys():
        pandas: Any = importlib.import_module("pandas")
        return pandas.DataFrame(data["data"], columns=data["columns"], index=data["index"])
    if text and _is_text(data):
        return data
    import numpy

    if isinstance(data, list):
        return numpy.asarray(data)
    return {name: numpy.asarray(value) for name, value in data.items()} if isinstance(data, dict) else data


def _is_text(data: Any) -> bool:
    """Say whether these are strings, or dictionaries of strings, which MLflow takes as they are."""
    if isinstance(data, list):
        return all(isinstance(item, str) for item in data) or all(
            isinstance(item, dict) and _is_text(item) for item in data
        )
    return isinstance(data, dict) and all(
        isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        for value in data.values()
    )


def load() -> Script:
    """Load the model that the environment names."""
    return Script(Path(os.environ["AZUREML_MODEL_DIR"]) / os.environ["MLFLOW_MODEL_FOLDER"])
