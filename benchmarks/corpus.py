"""What every benchmark works on: dialogues of ultrachat_200k's shape and a tokenizer of Phi-3's, made here.

Nothing is downloaded. The text is the docstrings of this interpreter's library and packages, so the same installation
and seed give the same files, byte by byte.
"""

import ast
import hashlib
import json
import os
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEXT_BYTES = 12_000_000
"""Different sentences that dialogues and tokenizer are made of; a vocabulary of 32064 needs about 10 MB."""
_CONTEXT = 4096
"""Phi-3-mini-4k's."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_NOT_PROSE = re.compile(r"[^A-Za-z ]")


def chats(rows: int, *, folder: Path, seed: int = 0, text_bytes: int = TEXT_BYTES) -> Path:
    """Write `rows` dialogues with the fields of ultrachat_200k, about 1,200 Phi-3 tokens each; return the JSONL file.

    Four to eight messages, short questions, answers of log-normal length, as in the original. A file that is there
    already is returned as it is.
    """
    file = folder / f"chats-{rows}-{seed}-{text_bytes}.jsonl"
    if not file.is_file():
        text = sentences(folder=folder, text_bytes=text_bytes)
        chance = random.Random(seed)
        lines = (json.dumps(_row(text, chance=chance), ensure_ascii=False) + "\n" for _ in range(rows))
        _write(file, "".join(lines))
    return file


def tokenizer(vocab_size: int, *, folder: Path, text_bytes: int = TEXT_BYTES) -> Any:
    """Return a fast tokenizer with exactly `vocab_size` tokens, Phi-3's control tokens, template and way of encoding.

    Raises ValueError when `text_bytes` of text hold too few different words for that many tokens.
    """
    from transformers import PreTrainedTokenizerFast

    place = folder / f"tokenizer-{vocab_size}-{text_bytes}"
    if not (place / "tokenizer.json").is_file():
        made = _learn(sentences(folder=folder, text_bytes=text_bytes), vocab_size=vocab_size)
        if len(made) != vocab_size:
            raise ValueError(f"{text_bytes} bytes of text give {len(made)} tokens, not {vocab_size}: take more text")
        aside = folder / f"{place.name}.{os.getpid()}"
        made.save_pretrained(aside)
        aside.rename(place)
    return PreTrainedTokenizerFast.from_pretrained(place)


def sentences(*, folder: Path, text_bytes: int = TEXT_BYTES) -> list[str]:
    """Return different sentences from docstrings, about `text_bytes` bytes of them, in an order that never changes."""
    file = folder / f"sentences-{text_bytes}.json"
    if file.is_file():
        kept: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return kept
    found: dict[str, None] = {}
    size = 0
    for source in _sources():
        for sentence in _said(source):
            if sentence not in found:
                found[sentence] = None
                size += len(sentence)
        if size > text_bytes:
            break
    _write(file, json.dumps(list(found)))
    return list(found)


def _sources() -> list[Path]:
    """Return the library's modules and those of all packages, mixed, so that no package rules the text."""
    library, packages = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    found = [entry.path for entry in os.scandir(library) if entry.name.endswith(".py")]
    for folder, _folders, files in os.walk(packages):  # thousands of files: pathlib's glob takes five times as long
        found += [os.path.join(folder, name) for name in files if name.endswith(".py")]
    found.sort()
    random.Random(0).shuffle(found)
    return [Path(name) for name in found]


def _said(source: Path) -> Iterator[str]:
    """Yield the prose in a module's docstrings, sentence by sentence; tables and code are passed over."""
    try:
        with warnings.catch_warnings(action="ignore"):  # other people's invalid escapes
            tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for part in _SENTENCE.split(ast.get_docstring(node, clean=False) or ""):
                sentence = " ".join(part.split())
                if 30 < len(sentence) < 400 and _prose(sentence):
                    yield sentence


def _prose(sentence: str) -> bool:
    """Say no to formulas, and to what looks like a control token: the runner drops rows that hold one."""
    return "<|" not in sentence and len(_NOT_PROSE.findall(sentence)) < 0.2 * len(sentence)


def _row(text: list[str], *, chance: random.Random) -> dict[str, Any]:
    messages = []
    for turn in range(chance.choice([2, 2, 3, 3, 4])):
        start = chance.randrange(len(text) - 80)
        asked = chance.randrange(3, 12) if turn == 0 and chance.random() < 0.3 else 1
        answered = max(2, min(60, int(chance.lognormvariate(2.7, 0.55))))
        answer = text[start + asked : start + asked + answered]
        listed = chance.random() < 0.3
        lines = [f"{number}. {line}" for number, line in enumerate(answer, start=1)] if listed else [" ".join(answer)]
        messages.append({"content": " ".join(text[start : start + asked]), "role": "user"})
        messages.append({"content": "\n".join(lines), "role": "assistant"})
    prompt = messages[0]["content"]
    name = hashlib.sha256(json.dumps(messages).encode()).hexdigest()
    return {"prompt": prompt, "prompt_id": name, "messages": messages}


def _learn(text: list[str], *, vocab_size: int) -> Any:
    from tokenizers import Tokenizer, pre_tokenizers

    from phi_runner.model import tokenizer as bpe

    made = bpe.train(text, vocab_size=vocab_size, context=_CONTEXT)
    # The runner's own vocabularies are small and keep punctuation apart; Phi-3's merges look across the whole text.
    core: Tokenizer = made.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    return made


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.rename(file)
