"""The export itself, in a process of its own: the model builder prints, imports torch, and takes a model's memory.

`python -m phi_runner.model.onnx.build --model FOLDER --precision fp32 --into FOLDER`; a failure that the user can act
on is one line in `problem.txt` there.
"""

import argparse
import gc
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from phi_runner.errors import DeployFailed, PhiRunnerError
from phi_runner.model import load
from phi_runner.model.onnx import adapt, export, facts, proof
from phi_runner.model.parity import witness
from phi_runner.processes import die_with_parent


def main() -> int:
    """Export as the command line says; returns the exit code."""
    die_with_parent()
    logging.disable(logging.INFO)  # the quantizer tells of every node
    parser = argparse.ArgumentParser(prog="python -m phi_runner.model.onnx.build")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--into", type=Path, required=True)
    asked = parser.parse_args()
    try:
        fill(asked.model, precision=asked.precision, folder=asked.into)
    except PhiRunnerError as err:
        (asked.into / export.PROBLEM).write_text(str(err), encoding="utf-8")
        return err.exit_code
    return 0


def fill(model_folder: Path, *, precision: str, folder: Path) -> None:
    """Fill an empty folder: the ONNX files, tokenizer, template, facts, and how near it is to transformers."""
    work = folder / "work"
    config = adapt.adapted(model_folder, folder=work)
    _built(work, precision=precision, folder=folder)
    shutil.rmtree(work)
    model, tokenizer = load.pretrained(str(model_folder))
    told = _facts(model, tokenizer, config, precision=precision)
    save_tokenizer(model_folder, folder=folder)
    facts.write(told, folder=folder)
    before, texts = witness(model, tokenizer), proof.long_texts(model, told)
    del model
    gc.collect()
    proof.compared(folder, before, texts)
    facts.write(told, folder=folder)  # again, with the size of what was added


def _built(model: Path, *, precision: str, folder: Path) -> None:
    from onnxruntime_genai.models.builder import create_model, parse_extra_options
    from safetensors import SafetensorError

    source = (None, str(model), str(folder), precision, "cpu", str(model / "cache"))
    try:
        create_model(*source, **parse_extra_options(*source, list(adapt.OPTIONS)))
    except (NotImplementedError, ValueError, KeyError, AttributeError, RuntimeError, OSError, SafetensorError) as err:
        said = " ".join(f"{type(err).__name__}: {err}".split())[:200]
        raise DeployFailed(
            f"onnxruntime-genai cannot export {model.resolve()} ({said}): type deploy.engine=transformers"
        ) from err


def save_tokenizer(model: Path, *, folder: Path) -> None:
    """Write the tokenizer as transformers runs it: for some models that is not what their own file says."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=True)
    tokenizer.save_pretrained(folder)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    (folder / facts.SPECIAL_TOKENS).write_text(json.dumps(special, indent=1) + "\n", encoding="utf-8")


def _facts(model: Any, tokenizer: Any, config: Any, *, precision: str) -> facts.Facts:
    ends = model.generation_config.eos_token_id
    stops = load.stop_ids(model, tokenizer) if ends is None else ends if isinstance(ends, list) else [ends]
    return facts.Facts(
        precision=precision, context=config.max_position_embeddings, rope_switch=adapt.rope_switch(config), stops=stops,
        layers=config.num_hidden_layers, kv_heads=config.num_key_value_heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        made_by=export.versions(),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
