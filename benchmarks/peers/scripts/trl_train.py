"""Train with TRL alone, run as `python trl_train.py SETTINGS.json`: what a short script of one's own would do."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer


class _Tell(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Prints when training begins and what is logged, with all digits."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_more: Any) -> None:
        print("Running training")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_more: Any) -> None:
        print(json.dumps({"step": state.global_step} | logs))


def main(settings: dict[str, Any]) -> None:
    """Train as `settings` say: the model's folder, dtype and attention, the dialogues, and SFTConfig's arguments."""
    lora = None
    if settings["lora_rank"]:
        from peft import LoraConfig

        lora = LoraConfig(r=settings["lora_rank"], lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(
        settings["model"], dtype=getattr(torch, settings["dtype"]), attn_implementation=settings["attention"]
    )
    arguments = settings["arguments"]
    if settings["packed"]:
        tables = [pa.ipc.open_stream(pa.memory_map(file)).read_all() for file in settings["packed"]]
        rows = Dataset.from_dict(pa.concat_tables(tables).to_pydict())
        arguments["dataset_kwargs"] = {"skip_prepare_dataset": True}
    else:
        rows = load_dataset("json", data_files=settings["dialogues"], split="train").select_columns(["messages"])
    trainer = SFTTrainer(
        model=model, args=SFTConfig(**arguments), train_dataset=rows, peft_config=lora,
        processing_class=AutoTokenizer.from_pretrained(settings["model"]), callbacks=[_Tell()],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
