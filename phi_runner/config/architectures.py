"""The numbers of every model that a preset names, known without opening it: for plans, checks and shrunk copies.

Each is the model's own `config.json`. No setting: a preset's weights have the shape they have.
"""

from dataclasses import dataclass, replace

LINEAR_LAYERS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""The linear layers of a Phi-3 block, but for the head: query, key and value are one, and so are gate and up."""
MODEL_TYPE = "phi3"
"""What the `config.json` of the Phi-3 architecture calls itself; Phi-3.5, Phi-4 and Phi-4 mini have it too."""
SPLIT_LAYERS = {
    "q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj",
}  # fmt: skip
"""Where the layers of other architectures are in this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A Phi-3 network by its numbers."""

    family: str
    """Whose chat template it speaks: a file of `model/templates`."""
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    context: int
    """Longest text in tokens."""
    original_context: int
    """Context before long rope stretched it; equal to `context`: it was not stretched."""
    sliding_window: int = 0
    """Tokens that a token looks back at; 0: all of them."""
    partial_rotary: float = 1.0
    """Share of a head that is rotated by position."""
    rope_theta: float = 10_000.0
    tied: bool = False
    """The head shares the embedding's weights."""

    @property
    def parameters(self) -> int:
        """Count the weights."""
        head = self.hidden_size // self.heads
        attention = self.hidden_size * (2 * self.heads + 2 * self.kv_heads) * head
        block = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        return embeddings + self.layers * block + self.hidden_size


_MINI_4K = Architecture(
    family="phi3", hidden_size=3072, intermediate_size=8192, layers=32, heads=32, kv_heads=32, vocab_size=32064,
    context=4096, original_context=4096, sliding_window=2047,
)  # fmt: skip
_MINI_128K = replace(_MINI_4K, context=131072, sliding_window=262144)
_MEDIUM_4K = replace(
    _MINI_4K, family="phi3_medium", hidden_size=5120, intermediate_size=17920, layers=40, heads=40, kv_heads=10
)
_PHI4_MINI = replace(
    _MINI_128K, family="phi4_mini", heads=24, kv_heads=8, vocab_size=200064, partial_rotary=0.75, tied=True
)
_PHI4 = replace(
    _MEDIUM_4K, family="phi4", vocab_size=100352, context=16384, original_context=16384, sliding_window=0,
    rope_theta=250_000.0,
)  # fmt: skip

ARCHITECTURES = {
    "microsoft/Phi-3-mini-4k-instruct": _MINI_4K,
    "microsoft/Phi-3-mini-128k-instruct": _MINI_128K,
    "microsoft/Phi-3-medium-4k-instruct": _MEDIUM_4K,
    "microsoft/Phi-3.5-mini-instruct": replace(_MINI_128K, family="phi3_5"),
    "microsoft/Phi-4-mini-instruct": _PHI4_MINI,
    "microsoft/phi-4": _PHI4,
}
"""By hub id."""


def architecture_of(repo: str) -> Architecture | None:
    """Return the numbers of a model of the hub, or None for one that no preset names."""
    return ARCHITECTURES.get(repo)
