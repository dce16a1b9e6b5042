"""The software of jobs and deployments: a Docker image and a conda file with the versions that are installed here."""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from phi_runner.config.schema import AzureCompute
from phi_runner.errors import RemoteFailed

if TYPE_CHECKING:
    from phi_runner.azureml.client import Azure

_PYTHON = "3.11"
_API = "2023-04-01-preview"
_TRAINING = (
    "accelerate", "bitsandbytes", "datasets", "filelock", "matplotlib", "mlflow", "numpy", "omegaconf", "peft",
    "psutil", "pyarrow", "pyyaml", "rapidfuzz", "regex", "safetensors", "scipy", "sentencepiece", "tokenizers", "torch",
    "transformers", "trl",
)  # fmt: skip
_SERVED = ("accelerate", "mlflow", "torch", "transformers")
_ANSWERING = (
    "accelerate", "fastapi", "httpx", "jinja2", "numpy", "prometheus-client", "psutil", "safetensors", "sentencepiece",
    "starlette", "tokenizers", "torch", "transformers",
)  # fmt: skip
_ANSWERING_SERVER = ("azureml-ai-monitoring", "azureml-inference-server-http==1.5.1")
"""Below our scoring code. This server wants pydantic 2.12: beside a pin of a newer one pip falls back to the server's
1.2.2 of 2024 without a word, so which pydantic it is is left to the server."""
AZURE_SERVING = ("azureml-ai-monitoring", "azureml-inference-server-http")
"""What Azure's scoring images import without bringing it: a model that does not ask for them ends in a crash loop."""

Conda = dict[str, Any]


def pins(names: tuple[str, ...]) -> list[str]:
    """Return `name==version` of what is installed here; what is not is left out, a build tag like `+cpu` is cut."""
    found = []
    for name in names:
        try:
            found.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    return found


def model_requirements() -> list[str]:
    """Return what a model in MLflow's form needs to be served by Azure."""
    return [*pins(_SERVED), *AZURE_SERVING]


def _conda(packages: list[str]) -> Conda:
    return {
        "name": "phi-runner",
        "channels": ["conda-forge"],
        "dependencies": [f"python={_PYTHON}", "pip", {"pip": packages}],
    }


def training_conda(*, more: tuple[str, ...] = ()) -> Conda:
    """Return the conda file of a job that trains or measures, with what else this one needs."""
    return _conda(pins((*_TRAINING, *more)))


def scoring_requirements() -> list[str]:
    """Return what our scoring code and the server that runs it need, for pip."""
    return [*pins(_ANSWERING), *_ANSWERING_SERVER]


def inference_conda() -> Conda:
    """Return the conda file of a deployment that runs our scoring code."""
    return _conda(scoring_requirements())


def _content_version(image: str, conda: Conda) -> str:
    """Return a version that follows from the content: the same content is the same version, made once."""
    text = json.dumps({"image": image, "conda": conda}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ensure(azure: "Azure", *, name: str, image: str, conda: Conda, about: str) -> str:
    """Make the environment unless this very content is there already; return it as jobs and deployments name it."""
    from azure.ai.ml.entities import Environment
    from azure.core.exceptions import ResourceExistsError

    from phi_runner.azureml.wording import in_our_words

    number = _content_version(image, conda)
    with in_our_words(f"making the environment {name}"):
        if not azure.arm.exists(azure.ids.environment(name, version=number), api_version=_API):
            made = Environment(name=name, version=number, image=image, conda_file=conda, description=about)
            with suppress(ResourceExistsError):  # another run was faster with the same content
                azure.ml.environments.create_or_update(made)
    return f"azureml:{name}:{number}"


def ensure_training(azure: "Azure", *, compute: AzureCompute, more: tuple[str, ...] = ()) -> str:
    """Make the environment in which jobs run, with what else this one needs."""
    if not compute.image:
        raise RemoteFailed("compute.image is empty: name a Docker image, as the presets do")
    return ensure(
        azure, name=compute.environment, image=compute.image, conda=training_conda(more=more),
        about="phi_runner's jobs",
    )  # fmt: skip


def ensure_inference(azure: "Azure", *, name: str, image: str) -> str:
    """Make the environment in which our scoring code answers."""
    return ensure(azure, name=name, image=image, conda=inference_conda(), about="phi_runner's scoring code")
