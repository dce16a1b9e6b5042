"""The ways from dialogues to packed rows, each for a process: `python -m benchmarks.data_ways WAY FOLDER ROWS`.

Prints one JSON object: seconds (imports, model and tokenizer not counted), tokens made, processor time of the whole
process and its children, and the most memory held.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import corpus

VOCABULARY = 32064
MAX_LENGTH = 2048


def arrow(rows: int, *, folder: Path) -> Path:
    """Return the rows as the data stage writes them, made when they are not there."""
    from phi_runner.data.write import write_rows

    file = folder / f"chats-{rows}.arrow"
    if not file.is_file():
        with corpus.chats(rows, folder=folder).open(encoding="utf-8") as stream:
            chats = [json.loads(line)["messages"] for line in stream]
        aside = file.with_suffix(".partial")
        write_rows(chats, arrow=aside, jsonl=folder / "unused.jsonl")
        aside.rename(file)
    return file


def tutorial(rows: int, *, folder: Path, scratch: Path) -> tuple[float, int]:
    """Prepare as the code-first tutorial does: split, written row by row as JSON, read again, ten processes, text."""
    from datasets import load_dataset
    from trl import SFTTrainer

    tokenizer, model = corpus.tokenizer(VOCABULARY, folder=folder), _model()
    source, file = corpus.chats(rows, folder=folder), scratch / "train.jsonl"
    arguments = _sft(scratch, packing_strategy="wrapped", dataset_text_field="text")
    begun = time.perf_counter()
    loaded = load_dataset("json", data_files=str(source), split="train")
    divided = loaded.train_test_split(test_size=0.02, seed=0)
    with file.open("w", encoding="utf-8") as stream:
        for row in divided["train"]:
            json.dump(row, stream)
            stream.write("\n")
    again = load_dataset("json", data_files=str(file), split="train")
    text = again.map(_as_text, fn_kwargs={"tokenizer": tokenizer}, num_proc=10, remove_columns=list(again.features))
    trainer = SFTTrainer(model=model, args=arguments, processing_class=tokenizer, train_dataset=text)
    # 2 % of the rows are held out: the time is scaled to all of them
    return (time.perf_counter() - begun) / 0.98, _tokens(trainer.train_dataset)


def trl(rows: int, *, folder: Path, scratch: Path) -> tuple[float, int]:
    """Leave everything to TRL: it renders, masks and packs the messages."""
    from datasets import Dataset
    from trl import SFTTrainer

    tokenizer, model = corpus.tokenizer(VOCABULARY, folder=folder), _model()
    file = arrow(rows, folder=folder)
    arguments = _sft(scratch, packing_strategy="bfd", assistant_only_loss=True)
    copy = scratch / "train.arrow"  # what is mapped is cached beside its file
    copy.symlink_to(file)
    begun = time.perf_counter()
    data = Dataset.from_file(str(copy))
    trainer = SFTTrainer(model=model, args=arguments, processing_class=tokenizer, train_dataset=data)
    return time.perf_counter() - begun, _tokens(trainer.train_dataset)


def ours(rows: int, *, folder: Path, scratch: Path) -> tuple[float, int]:
    """Prepare as phi_runner's train stage does; a second call with the same scratch folder finds the cache."""
    from phi_runner.model import tokens

    tokenizer = corpus.tokenizer(VOCABULARY, folder=folder)
    import datasets  # noqa: F401 - imports are not counted

    file = arrow(rows, folder=folder)
    begun = time.perf_counter()
    made = tokens.tokenise_file(tokenizer, file, max_length=MAX_LENGTH, cache=scratch / "tokens")
    packed = tokens.pack(made, max_length=MAX_LENGTH)
    return time.perf_counter() - begun, _tokens(packed)


def raw(rows: int, *, folder: Path, scratch: Path) -> tuple[float, int]:
    """Encode texts that are rendered already and throw the ids away: no way can be faster."""
    from phi_runner.model.tokens import dialogues

    tokenizer = corpus.tokenizer(VOCABULARY, folder=folder)
    batches = dialogues.batches(dialogues.read(arrow(rows, folder=folder)))
    texts = [tokenizer.apply_chat_template([list(one) for one in batch], tokenize=False) for batch in batches]
    begun = time.perf_counter()
    made = 0
    for batch in texts:
        made += sum(map(len, tokenizer.backend_tokenizer.encode_batch_fast(batch, add_special_tokens=False)))
    return time.perf_counter() - begun, made


WAYS: dict[str, Callable[..., tuple[float, int]]] = {"tutorial": tutorial, "trl": trl, "ours": ours, "raw": raw}


def _as_text(row: dict[str, Any], tokenizer: Any) -> dict[str, str]:
    turns = row["messages"]
    empty = [] if turns[0]["role"] == "system" else [{"role": "system", "content": ""}]
    return {"text": tokenizer.apply_chat_template(empty + turns, tokenize=False)}


def _sft(scratch: Path, **settings: Any) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(scratch), max_length=MAX_LENGTH, packing=True, report_to="none", use_cpu=True, bf16=False,
        gradient_checkpointing=False, **settings,
    )  # fmt: skip


def _model() -> Any:
    """Return a model so small that it does not count: TRL prepares data only when it makes a trainer."""
    from transformers import Phi3Config, Phi3ForCausalLM

    return Phi3ForCausalLM(
        Phi3Config(
            vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip


def _tokens(dataset: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.list_value_length(dataset.data.column("input_ids"))).as_py())


def _peak_gib(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 2**20


def _cpu_s() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(way: str, folder: str, rows: str) -> None:
    """Run a way once and print what it took."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    scratch = Path(os.environ["HF_DATASETS_CACHE"])
    seconds, made = WAYS[way](int(rows), folder=Path(folder), scratch=scratch)
    facts = {"seconds": seconds, "tokens": made, "cpu_s": _cpu_s()}
    memory = {"self_gib": _peak_gib(resource.RUSAGE_SELF), "child_gib": _peak_gib(resource.RUSAGE_CHILDREN)}
    print(json.dumps(facts | memory))


if __name__ == "__main__":
    main(*sys.argv[1:])
