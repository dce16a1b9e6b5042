"""What the model builder must be told in its own words: it reads some of a Phi-3 config otherwise than transformers.

Each line of `_rewritten` mends an export that would have been made without an error and answered wrongly, found by
comparing logits (onnxruntime-genai 0.18.0).
"""

import json
from pathlib import Path
from typing import Any

from phi_runner.errors import DeployFailed

OPTIONS = ("windowed_kv_cache=false", "prune_lm_head=true")
"""A cache of the window's size takes no prompt that is longer than it; only the last position's scores are read."""
_KNOWN_ROPES = ("default", "longrope")


def adapted(model: Path, *, folder: Path) -> Any:
    """Fill a folder with links to a model's files and a config that the builder reads rightly; return the real one."""
    from transformers import AutoConfig

    folder.mkdir()
    for file in model.iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    config = AutoConfig.from_pretrained(model, local_files_only=True)
    (folder / "config.json").write_text(json.dumps(_rewritten(config)), encoding="utf-8")
    return config


def rope_switch(config: Any) -> int | None:
    """Return how long a text may be before it is read with other frequencies, or None where there is one kind."""
    if config.rope_parameters["rope_type"] != "longrope":
        return None
    return int(config.original_max_position_embeddings)


def _rewritten(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = config.to_dict()
    window = values.get("sliding_window")
    if window and window < config.max_position_embeddings:
        values["layer_types"] = ["sliding_attention"] * config.num_hidden_layers  # else the window is left out
    else:
        values["sliding_window"] = None
    rope = dict(values["rope_parameters"])
    if rope["rope_type"] not in _KNOWN_ROPES:
        raise DeployFailed(
            f"positions of type {rope['rope_type']} are not known to the ONNX export: type deploy.engine=transformers"
        )
    if rope_switch(config) is not None:
        scale = _attention_scale(config)  # the builder knows neither `attention_factor` nor `factor`
        rope |= {"type": rope["rope_type"], "short_mscale": scale, "long_mscale": scale}
    return values | {"rope_parameters": rope}


def _attention_scale(config: Any) -> float:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    _frequencies, scale = ROPE_INIT_FUNCTIONS["longrope"](config, None)
    return float(scale)
