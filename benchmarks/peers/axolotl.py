"""axolotl 0.17.0; on a processor it asks CUDA for its capability and ends there, which the table says."""

import json
from pathlib import Path

from benchmarks.peers import Peer, printed
from benchmarks.tasks import Task


def _command(task: Task, python: Path) -> list[str]:
    settings = {
        "base_model": str(task.model), "sequence_len": task.context, "sample_packing": True,
        "datasets": [{"path": str(task.dialogues), "ds_type": "json", "type": "chat_template"}],
        "dataset_prepared_path": str(task.folder / "prepared"), "output_dir": str(task.folder / "out"),
        "micro_batch_size": task.batch, "gradient_accumulation_steps": 1, "max_steps": task.steps, "num_epochs": 1,
        "optimizer": "adamw_torch", "learning_rate": task.learning_rate, "lr_scheduler": "linear", "logging_steps": 1,
        "bf16": task.precision == "bf16", "train_on_inputs": True, "include_num_input_tokens_seen": True,
        "save_strategy": "no",
    }  # fmt: skip
    file = task.folder / "settings.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")
    return [str(python.with_name("axolotl")), "train", str(file)]


_BARE = (
    "axolotl==0.17.0", "axolotl-contribs-lgpl==0.0.7", "axolotl-contribs-mit==0.0.6", "optimum==1.16.2",
    "liger-kernel==0.7.0", "torchao==0.17.0", "bitsandbytes==0.49.1",
)  # fmt: skip
_PACKAGES = (
    "transformers==5.9.0", "peft==0.19.1", "accelerate==1.13.0", "datasets>=4.8.4,<4.9", "trl==1.5.1",
    "kernels==0.13.0", "schedulefree==1.4.1", "mistral-common==1.11.0", "posthog==6.7.11", "typer<0.26",
    "sentencepiece", "addict", "fire", "requests", "einops", "colorama", "numba", "scipy", "art", "python-dotenv",
    "zstandard", "fastcore", "evaluate", "langdetect", "immutabledict", "triton", "nvidia-ml-py",
)  # fmt: skip
"""What training needs of the packages that it asks for, in the versions that it asks for."""


PEER = Peer(
    name="axolotl",
    about="0.17.0, sample packing, full fine-tune",
    command=_command,
    packages=_PACKAGES,
    bare=_BARE,
    removed=("torchvision", "torchaudio"),
    environment=(("AXOLOTL_DO_NOT_TRACK", "1"), ("DO_NOT_TRACK", "1")),
    steps=printed,
)
