"""Every preset's model with two narrow layers: its kind of tokenizer, its own template, rope and special tokens."""

from pathlib import Path
from typing import Any

from phi_runner.config.architectures import ARCHITECTURES, Architecture
from tests import runs

REPOS = tuple(ARCHITECTURES)
CONTEXT = 512
SHORT_CONTEXT = 96
"""Where long rope begins to stretch, so that texts on both sides of it are quick."""

_PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system'SYSTEM %}{{'<|system|>\n' + message['content'] + "
    "'<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
TEMPLATES = {
    "phi3": _PHI3.replace("SYSTEM", ""),
    "phi3_5": _PHI3.replace("SYSTEM", " and message['content']"),
    "phi3_medium": (
        "{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + "
        "'<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}{{message['content'] + "
        "'<|end|>' + '\n'}}{% endif %}{% endfor %}"
    ),
    "phi4_mini": (
        "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is "
        "not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>'"
        " + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    "phi4": (
        "{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' + "
        "message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + "
        "message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'assistant') %}"
        "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
    ),
}
"""Each family's own, as its tokenizer_config.json has it."""
END_OF_TURN = {family: "<|im_end|>" if family == "phi4" else "<|end|>" for family in TEMPLATES}


def make(repo: str, folder: Path) -> Path:
    """Write a random model of a preset's kind with its tokenizer, as its authors would; return `folder`."""
    import torch
    from transformers import Phi3ForCausalLM

    architecture = ARCHITECTURES[repo]
    tokenizer = make_tokenizer(architecture.family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Phi3ForCausalLM(_config(architecture, tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _config(architecture: Architecture, tokenizer: Any) -> Any:
    from transformers import Phi3Config

    stretched = architecture.context > architecture.original_context
    rotated = int(16 * architecture.partial_rotary) // 2
    rope: dict[str, Any] = {"rope_type": "default"}
    if stretched:
        rope = {
            "rope_type": "longrope", "short_factor": [1.0 + 0.01 * place for place in range(rotated)],
            "long_factor": [1.0 + place for place in range(rotated)],
        }  # fmt: skip
    common = {"rope_theta": architecture.rope_theta, "partial_rotary_factor": architecture.partial_rotary}
    return Phi3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4 * architecture.kv_heads // architecture.heads or 1, max_position_embeddings=CONTEXT,
        original_max_position_embeddings=SHORT_CONTEXT if stretched else CONTEXT,
        rope_parameters=rope | common,
        sliding_window=CONTEXT // 2 if 0 < architecture.sliding_window < architecture.context else None,
        tie_word_embeddings=architecture.tied, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def make_tokenizer(family: str) -> Any:
    """Return a small tokenizer of a family's kind with its own template, special tokens and padding."""
    from phi_runner.model import tokenizer as bpe

    if family in ("phi4", "phi4_mini"):
        return _byte_level(family)
    made = bpe.train(_texts(), vocab_size=420, context=CONTEXT)
    made.chat_template, made.pad_token = TEMPLATES[family], "<|endoftext|>"
    return made


def _byte_level(family: str) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        _texts(), trainers.BpeTrainer(vocab_size=380, initial_alphabet=letters, show_progress=False)
    )
    special = {
        "phi4": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|dummy_85|>"),
        "phi4_mini": ("<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>", "<|system|>", "<|tool|>", "<|/tool|>"),
    }[family]
    phi4 = family == "phi4"
    core.add_special_tokens([  # Phi-4's swallow the blanks on both sides
        AddedToken(text, lstrip=phi4, rstrip=text != "<|endoftext|>", special=True, normalized=False)
        for text in special
    ])  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|endoftext|>", eos_token="<|im_end|>" if phi4 else "<|endoftext|>",
        pad_token="<|dummy_85|>" if phi4 else "<|endoftext|>", model_max_length=CONTEXT,
        chat_template=TEMPLATES[family], clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _texts() -> list[str]:
    return [text for pair in runs.FACTS.items() for text in pair] * 3
