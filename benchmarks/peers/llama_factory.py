"""LLaMA-Factory 0.9.5, its own packing, attention and checkpointing, in the precision that suits the machine."""

import json
from pathlib import Path

from benchmarks.peers import Peer, printed
from benchmarks.tasks import Task


def _command(task: Task, python: Path) -> list[str]:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    described = {
        "chats": {
            "file_name": str(task.dialogues), "formatting": "sharegpt", "columns": {"messages": "messages"},
            "tags": tags,
        }
    }  # fmt: skip
    (task.folder / "dataset_info.json").write_text(json.dumps(described), encoding="utf-8")
    settings = {
        "model_name_or_path": str(task.model), "stage": "sft", "do_train": True, "finetuning_type": "full",
        "dataset": "chats", "dataset_dir": str(task.folder), "template": "phi", "cutoff_len": task.context,
        "packing": True, "output_dir": str(task.folder / "out"), "per_device_train_batch_size": task.batch,
        "learning_rate": task.learning_rate, "max_steps": task.steps, "logging_steps": 1, "report_to": "none",
        "include_num_input_tokens_seen": "non_padding", "bf16": task.precision == "bf16", "save_strategy": "no",
        "use_cpu": not task.cuda, "disable_tqdm": True, "train_on_prompt": True, "log_level": "info",
    }  # fmt: skip
    file = task.folder / "settings.yaml"  # it reads JSON as well, but not from a file that says so
    file.write_text(json.dumps(settings), encoding="utf-8")
    return [str(python.with_name("llamafactory-cli")), "train", str(file)]


PEER = Peer(
    name="LLaMA-Factory",
    about="0.9.5, packing, full fine-tune",
    command=_command,
    packages=("llamafactory==0.9.5",),
    # Its code for images and sound imports these whatever is trained; their published builds need CUDA.
    removed=("torchvision", "torchaudio"),
    stubs=("torchaudio",),
    environment=(("DISABLE_VERSION_CHECK", "1"),),
    steps=printed,
)
