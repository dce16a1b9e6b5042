"""Open the engine that an endpoint's settings name; each is imported where it is chosen."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner.errors import DeployFailed
from phi_runner.serve.settings import Settings

if TYPE_CHECKING:
    from phi_runner.model.answering import Engine

_NOT_FOR_ANSWERS = ("accelerate", "scipy")
"""transformers imports these where they are installed, and only training uses them: a sixth of the start."""


def open_engine(settings: Settings, *, on_death: Callable[[BaseException], None]) -> "Engine":
    """Load the model; raises DeployFailed. `on_death` is called when the engine cannot go on, from any thread."""
    match settings.engine:
        case "transformers":
            for name in _NOT_FOR_ANSWERS:
                sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's own way to say "not installed"
            from phi_runner.model.engines import batched

            return batched.TransformersEngine(
                Path(settings.model_folder), device=settings.device, slots=settings.max_concurrent or batched.SLOTS,
                on_death=on_death,
            )  # fmt: skip
        case "onnx":
            from phi_runner.model.onnx import engine as onnx

            return onnx.OnnxEngine(
                Path(settings.engine_folder), slots=settings.max_concurrent or onnx.SLOTS, on_death=on_death
            )
        case "vllm":
            from phi_runner.serve.upstream.vllm import open_vllm

            return open_vllm(settings, on_death=on_death)
        case "azureml":
            from phi_runner.serve.upstream.azureml import open_azureml

            return open_azureml(settings, on_death=on_death)
        case unknown:
            raise DeployFailed(f"there is no engine {unknown!r}: use transformers, onnx, vllm or azureml")
