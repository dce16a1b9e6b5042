"""`python -m tests.model.training.drill`: trains a tiny model, each time in a forked child that may kill itself.

Lines of JSON in: what to train and when to die; lines of JSON out: the child's exit code. The slow imports are
done once.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
ROWS = 22
"""Not a multiple of a step's six: every epoch ends with a step of fewer micro-batches."""
STEPS = 12


def _model(tokenizer: Any, *, width: int, dropout: float) -> Any:
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(3)
    shape = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=width, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, original_max_position_embeddings=128,
        tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, resid_pdrop=dropout,
    )  # fmt: skip
    return Phi3ForCausalLM(shape)


def rows() -> list[list[int]]:
    """Return the token ids of the training rows, always the same ones."""
    chance = random.Random(5)
    return [[chance.randrange(3, 64) for _ in range(chance.randrange(6, 30))] for _ in range(ROWS)]


def trainer(asked: dict[str, Any]) -> Any:
    """Return a trainer of `asked["method"]` that keeps its checkpoints in `asked["folder"]`."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig

    from phi_runner.model.training.trainer import PhiTrainer
    from tests import tiny

    values = {
        "output_dir": asked["folder"], "learning_rate": 1e-2, "num_train_epochs": 3, "max_length": 64,
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "packing": asked.get("packing", False),
        "train_sampling_strategy": "random" if asked.get("packing") else "group_by_length", "bf16": False,
        "use_cpu": True, "activation_checkpointing": False, "logging_steps": 5, "logging_nan_inf_filter": False,
        "save_steps": 3, "save_total_limit": 2, "seed": 0, "data_seed": 0, "report_to": "none", "disable_tqdm": True,
        "lr_scheduler_type": "cosine", "warmup_steps": 2, "eval_strategy": "no",
    }  # fmt: skip
    found, tokenizer = rows(), tiny.make_tokenizer()
    lora = LoraConfig(r=4, lora_dropout=0.1, target_modules=["qkv_proj", "o_proj"], task_type="CAUSAL_LM")
    model = _model(tokenizer, width=asked.get("width", 32), dropout=asked.get("dropout", 0.1))
    made = PhiTrainer(
        model=model, args=SFTConfig(**values | asked.get("values", {})), processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"input_ids": found, "labels": found}),
        peft_config=lora if asked["method"] == "lora" else None,
    )  # fmt: skip
    made.remove_callback(PrinterCallback)
    return made


def train(asked: dict[str, Any]) -> Any:
    """Train as a stage does and return the trainer."""
    from phi_runner.config.resuming import Settings
    from phi_runner.events import Events, StageEvents
    from phi_runner.model.training import guarded

    made, events = trainer(asked), Events()
    _prepare(made, asked)
    events.listen(lambda event: print(event.message, flush=True))
    guarded.train(
        made, settings=Settings(decisive={"train.kind": asked["method"]} | asked.get("settings", {})), rows=rows(),
        resume_from=asked.get("resume_from", ""), folder=Path(asked["folder"]), events=StageEvents(events, "train"),
    )  # fmt: skip
    return made


def _prepare(made: Any, asked: dict[str, Any]) -> None:
    """Lay out what goes wrong: a kill, a row that gives no number, a memory or a disk that is too small."""
    if "kill_at" in asked or "signal_at" in asked:
        made.add_callback(_killer(asked))
    if "kill_event" in asked:
        _kill_at_write(asked["folder"], number=asked["kill_event"])
    if "bad_row" in asked:
        bad = rows()[asked["bad_row"]]
        made.model.get_input_embeddings().register_forward_hook(
            lambda _part, given, out: out * float("nan") if _holds(given[0], bad) else out
        )
    if "memory_mb" in asked:
        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + asked["memory_mb"] * 10**6,) * 2)
    if "saved_every_s" in asked:
        made.saved_every_s = asked["saved_every_s"]
    if "filler_kb" in asked:
        (Path(asked["folder"]) / "filler").write_bytes(bytes(asked["filler_kb"] * 1000))


def _holds(ids: Any, row: list[int]) -> bool:
    found = ids.flatten().tolist()
    return any(found[place : place + len(row)] == row for place in range(len(found)))


def _killer(asked: dict[str, Any]) -> Any:
    from transformers import TrainerCallback

    class Killer(TrainerCallback):  # type: ignore[misc]
        """Sends a signal in the middle of a step."""

        def on_pre_optimizer_step(self, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
            """Die between the gradients and the step."""
            if state.global_step == asked.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            if state.global_step == asked.get("signal_at"):
                os.kill(os.getpid(), asked["signal"])

    return Killer()


def _kill_at_write(folder: str, *, number: int) -> None:
    """Die just before the disk is changed for the `number`-th time."""
    seen = 0

    def look(event: str, found: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event in _WRITES or (event == "open" and isinstance(found[1], str) and set(found[1]) & set("wax+"))
        if writes and str(found[0]).startswith(folder):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def result(trained: Any) -> dict[str, Any]:
    """Return what must not depend on interruptions: weights and moments by their bytes, and every loss."""
    found = hashlib.sha256()
    for name, weight in sorted(trained.model.state_dict().items()):
        found.update(name.encode() + weight.contiguous().numpy().tobytes())
    for state in trained.optimizer.state_dict()["state"].values():
        found.update(state["exp_avg"].numpy().tobytes() + state["exp_avg_sq"].numpy().tobytes())
    lines = [line for line in trained.state.log_history if "loss" in line]
    losses, tokens = [line["loss"] for line in lines], [line["num_tokens"] for line in lines]
    return {"sha256": found.hexdigest(), "losses": losses, "tokens": tokens, "steps": trained.state.global_step}


def _child(asked: dict[str, Any]) -> None:
    from phi_runner.config import endings

    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with endings.told():
        found = result(train(asked))
        if os.environ.get("RANK", "0") == "0":
            Path(asked["folder"] + ".json").write_text(json.dumps(found), encoding="utf-8")
    raise SystemExit


def main() -> None:
    """Serve until stdin ends."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)  # a pool of threads would not outlive a fork
    with tempfile.TemporaryDirectory() as folder:
        for method in ("full", "lora"):
            trainer({"folder": folder, "method": method, "values": {"max_steps": 1}}).train()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _child(json.loads(line))
        print(json.dumps({"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}), flush=True)


class Drill:
    """The process, from the outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def train(self, folder: Path, **asked: Any) -> tuple[int, str]:
        """Train in `folder` and return the exit code and everything that was said there so far."""
        log = folder.with_suffix(".log")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "log": str(log)} | asked) + "\n")
        self._process.stdin.flush()
        code = int(json.loads(self._process.stdout.readline())["code"])
        return code, log.read_text(encoding="utf-8")


def outcome(folder: Path) -> dict[str, Any]:
    """Return the result of a training that came to its end."""
    found: dict[str, Any] = json.loads(Path(f"{folder}.json").read_text(encoding="utf-8"))
    return found


@contextlib.contextmanager
def open_drill(errors: Path, *, before: tuple[str, ...] = ()) -> Iterator[Drill]:
    """Start the process for a block, by another command if `before` names one."""
    with errors.open("wb") as stream, subprocess.Popen(
        [*before, sys.executable, "-m", "tests.model.training.drill"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=stream, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline(), errors.read_text(encoding="utf-8")
        yield Drill(process)
        process.communicate()


def alone(asked: dict[str, Any]) -> None:
    """Train once in this process, which may be one of several."""
    import torch
    import torch.distributed as dist

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    print("joined", flush=True)
    if dist.get_rank() != asked.get("rank", 0):  # what goes wrong goes wrong in one of them
        asked = {name: value for name, value in asked.items() if name not in {"kill_at", "signal_at"}}
    _child(asked | {"log": f"{asked['log']}.{dist.get_rank()}", "folder": asked["folder"]})


if __name__ == "__main__":
    alone(json.loads(sys.argv[1])) if len(sys.argv) > 1 else main()
