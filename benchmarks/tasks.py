"""What every variant is given: the same model folder, the same dialogues, the same length, batch and precision."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The shape of a Phi-3 model with random weights."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    vocab_size: int

    @property
    def parameters(self) -> int:
        """Return how many numbers it is made of; Phi-3's matrices have no bias and its head is not tied."""
        layer = self.hidden_size * (4 * self.hidden_size + 3 * self.intermediate_size + 2)
        return self.layers * layer + self.hidden_size * (2 * self.vocab_size + 1)

    @property
    def flops_per_token(self) -> float:
        """Return 6 N, N without the input embedding: no attention and nothing computed twice, so a lower bound."""
        return 6.0 * (self.parameters - self.hidden_size * self.vocab_size)


SIZES = {
    "nano": Size(hidden_size=192, intermediate_size=512, layers=4, heads=4, vocab_size=4096),
    "small": Size(hidden_size=512, intermediate_size=1408, layers=8, heads=8, vocab_size=32064),
    "served": Size(hidden_size=512, intermediate_size=1408, layers=6, heads=8, vocab_size=32064),
    "phi3_mini": Size(hidden_size=3072, intermediate_size=8192, layers=32, heads=32, vocab_size=32064),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training that every variant is asked for."""

    size: str
    model: Path
    """A Hugging Face folder: fp32 weights, tokenizer with Phi-3's template."""
    dialogues: Path
    """JSONL with `messages`."""
    held_out: Path
    context: int = 2048
    batch: int = 4
    """Rows of `context` tokens to an optimiser step."""
    steps: int = 3
    learning_rate: float = 5e-4
    seed: int = 0
    precision: str = "fp32"
    """What the matrices are multiplied in where a variant leaves the choice: what is fast on this machine."""
    device: str = "cpu"
    folder: Path
    """A folder of the variant's own, empty."""
    packed: tuple[Path, ...] = ()
    """Arrow files of rows that are packed already, for a variant that is to train on the very rows of another."""

    @property
    def cuda(self) -> bool:
        """Say whether the GPU computes."""
        return self.device == "cuda"

    @property
    def flops_per_token(self) -> float:
        """Return 6 N of the task's model."""
        return SIZES[self.size].flops_per_token


def model(name: str, *, folder: Path) -> Path:
    """Make the model of a size with its tokenizer under `folder`, unless it is there; return its folder."""
    place = folder / f"model-{name}"
    if (place / "config.json").is_file():
        return place
    from transformers import Phi3Config, Phi3ForCausalLM, set_seed

    size, words = SIZES[name], corpus.tokenizer(SIZES[name].vocab_size, folder=folder)
    shape = Phi3Config(
        vocab_size=len(words), hidden_size=size.hidden_size, intermediate_size=size.intermediate_size,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.heads,
        max_position_embeddings=4096, original_max_position_embeddings=4096, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    set_seed(0)
    made = Phi3ForCausalLM(shape)
    assert made.num_parameters() == size.parameters, (made.num_parameters(), size.parameters)
    aside = folder / f"{place.name}.{os.getpid()}"
    words.save_pretrained(aside)
    made.save_pretrained(aside)
    aside.rename(place)
    return place


def short(dialogues: Path, *, characters: int) -> Path:
    """Write the dialogues of at most `characters` beside the others, so that no way of cutting long ones matters."""
    file = dialogues.with_name(f"{dialogues.stem}-{characters}.jsonl")
    if not file.is_file():
        lines = dialogues.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if sum(len(m["content"]) for m in json.loads(line)["messages"]) <= characters]
        file.write_text("".join(kept), encoding="utf-8")
    return file
