"""A very small Phi-3 model folder with random weights, made in a second, for tests that need a real one."""

import importlib.util
import json
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"
END = "<|end|>"
PHI3_TOKENS = (
    END_OF_TEXT, "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
    "<|system|>", END, "<|placeholder5|>", "<|placeholder6|>", "<|user|>",
)  # fmt: skip
CONTEXT = 512
_WORDS = (
    "Who founded Microsoft? Bill Gates and Paul Allen founded Microsoft in 1975. What is the capital of France? "
    "The capital of France is Paris. Where is the sun? The sun is in the middle of the solar system. "
    "Please answer the question in one short sentence. The model learns what the assistant says."
)


def make_model_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write a random Phi-3 of two layers with its tokenizer, chat template and generation config; return `folder`."""
    import torch
    from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

    tokenizer = make_tokenizer()
    pad, bos = tokenizer.convert_tokens_to_ids(["<unk>", "<s>"])
    stops = tokenizer.convert_tokens_to_ids([END, END_OF_TEXT])
    config = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, original_max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, initializer_range=0.5, bos_token_id=bos, eos_token_id=stops[1], pad_token_id=pad,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3ForCausalLM(config)
    silent = [token for text, token in tokenizer.get_vocab().items() if text[0] == "<" and text[-1] == ">"]
    with torch.no_grad():  # tied and random, it would say special tokens and raw bytes, which are no text
        model.model.embed_tokens.weight[silent] *= 0.01
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=pad, bos_token_id=bos, do_sample=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer() -> Any:
    """Train a byte-fallback BPE tokenizer of about 400 tokens with Phi-3's special tokens and chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_bpe(), unk_token="<unk>", bos_token="<s>", eos_token=END_OF_TEXT, pad_token="<unk>",
        padding_side="right", model_max_length=CONTEXT, chat_template=phi3_template(),
    )  # fmt: skip


def phi3_template() -> str:
    """Return Phi-3's chat template as TRL ships it."""
    found = importlib.util.find_spec("trl")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "chat_templates" / "phi3.jinja").read_text(encoding="utf-8")


def _bpe() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    space = "▁"
    trained = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=space, prepend_scheme="first", split=True)
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=390, special_tokens=["<unk>", "<s>", "</s>", *byte_tokens], show_progress=False
    )
    trained.train_from_iterator([_WORDS], trainer)
    settings = json.loads(trained.to_str())
    # bytes are ordinary tokens: were they special, decoding with skip_special_tokens would lose them
    settings["added_tokens"] = [token for token in settings["added_tokens"] if token["content"] not in byte_tokens]
    settings["pre_tokenizer"]["split"] = False
    made = Tokenizer.from_str(json.dumps(settings))
    made.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(
        [AddedToken(text, rstrip=text != END_OF_TEXT, special=True, normalized=False) for text in PHI3_TOKENS]
    )
    return made
