"""Turn a Hugging Face folder of Phi-3 into LitGPT's form: `python litgpt_weights.py MODEL FOLDER`, in its environment.

Its own converter knows models by name only, and the benchmark's sizes have none.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from litgpt.config import Config  # type: ignore[import-not-found]  # lives in the peer's environment
from litgpt.scripts.convert_hf_checkpoint import copy_weights_phi  # type: ignore[import-not-found]
from litgpt.utils import save_config  # type: ignore[import-not-found]
from safetensors.torch import load_file


def main(model: Path, *, folder: Path) -> None:
    """Write `lit_model.pth`, `model_config.yaml` and the tokenizer's files into `folder`."""
    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = Config.from_name(
        "Phi-3-mini-4k-instruct", n_embd=shape["hidden_size"], n_layer=shape["num_hidden_layers"],
        n_head=shape["num_attention_heads"], n_query_groups=shape["num_key_value_heads"],
        head_size=shape["hidden_size"] // shape["num_attention_heads"],
        intermediate_size=shape["intermediate_size"], vocab_size=shape["vocab_size"],
        padded_vocab_size=shape["vocab_size"],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for file in model.glob("*.json"):
        shutil.copy(file, folder)
    weights = {}
    for file in sorted(model.glob("*.safetensors")):
        weights.update(load_file(file))
    converted: dict[str, torch.Tensor] = {}
    copy_weights_phi(config, {}, converted, weights)
    torch.save(converted, folder / "lit_model.pth")
    save_config(config, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), folder=Path(sys.argv[2]))
