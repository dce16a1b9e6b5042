"""What every server is given: one random Phi-3 of 52 million numbers, prompts that share no beginning, the answers.

The answers are those of `generate`, one prompt at a time in this process; they are kept beside the model.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import corpus, tasks

SIZE = "served"
NEW_TOKENS = 64
PROMPT_TOKENS = 65
_LEAST_WORDS = 60
"""More words than `PROMPT_TOKENS` tokens can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What `generate` answers to a prompt."""

    text: str
    tokens: int
    """With the one that ends the answer, where there is one."""


def folder_of(place: Path, *, seed: int = 0) -> Path:
    """Make the model under `place`, unless it is there; other seeds are other versions with the same tokenizer.

    It ends a turn as Phi-3 does, at `<|end|>` or `<|endoftext|>`, and chooses greedily.
    """
    made = place / f"model-{SIZE}-{seed}"
    if (made / "config.json").is_file():
        return made
    from transformers import GenerationConfig, Phi3ForCausalLM, set_seed

    begun = tasks.model(SIZE, folder=place)
    words = corpus.tokenizer(tasks.SIZES[SIZE].vocab_size, folder=place)
    model = Phi3ForCausalLM.from_pretrained(begun)
    if seed:
        set_seed(seed)
        model = Phi3ForCausalLM(model.config)
    ends = words.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=words.pad_token_id, bos_token_id=words.bos_token_id
    )
    aside = place / f"{made.name}.{os.getpid()}"
    shutil.copytree(begun, aside, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    model.save_pretrained(aside)
    aside.rename(made)
    return made


def bytes_per_token() -> int:
    """Return what one step reads of fp32 weights: all of them but the embedding, of which it is one row."""
    size = tasks.SIZES[SIZE]
    return 4 * (size.parameters - size.hidden_size * size.vocab_size)


def prompts(count: int, *, model: Path, seed: int = 0, tokens: int = PROMPT_TOKENS) -> list[str]:
    """Return user turns of `tokens` prompt tokens, no two of which share the first token behind the template's.

    A prefix cache finds nothing in them; the same arguments give the same prompts. Raises ValueError when the corpus
    has too few beginnings.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    words = " ".join(corpus.sentences(folder=model.parent)).split()
    chance = random.Random(seed)
    found: dict[int, str] = {}
    for _ in range(100 * count):
        at = chance.randrange(len(words) - _LEAST_WORDS)
        if not words[at].isalpha():
            continue
        text = _cut(words[at : at + _LEAST_WORDS], tokenizer=tokenizer, tokens=tokens)
        first = tokenizer(text, add_special_tokens=False)["input_ids"][0]
        found.setdefault(first, text)
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"{count} prompts were asked for, only {len(found)} begin with different tokens")


def _cut(words: Sequence[str], *, tokenizer: Any, tokens: int) -> str:
    """Return as many of the words as fit into a prompt of `tokens`, the template's own included."""
    least, most = 1, len(words)
    while least < most:
        middle = (least + most + 1) // 2
        messages = [{"role": "user", "content": " ".join(words[:middle])}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        fits = len(tokenizer(text, add_special_tokens=False)["input_ids"]) <= tokens
        least, most = (middle, most) if fits else (least, middle - 1)
    return " ".join(words[:least])


def references(asked: Sequence[str], *, model: Path) -> dict[str, Reference]:
    """Return what `generate` answers to each prompt; what was computed once is read."""
    kept = model.parent / f"{model.name}-answers-{NEW_TOKENS}.json"
    known: dict[str, list[Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    missing = [text for text in asked if _name(text) not in known]
    if missing:
        known |= _generate(missing, model=model)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(known), encoding="utf-8")
        aside.rename(kept)
    return {text: Reference(text=known[_name(text)][0], tokens=known[_name(text)][1]) for text in asked}


def _generate(asked: Sequence[str], *, model: Path) -> dict[str, list[Any]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    found = {}
    for text in asked:
        given = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            tokens = loaded.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False)
        new = tokens[0, given["input_ids"].shape[1] :]
        found[_name(text)] = [tokenizer.decode(new, skip_special_tokens=True), len(new)]
    return found


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
