"""Open models and tokenizers: made here, from a local folder, or from the hub; refuse what cannot chat."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.config.schema import HubModel, LocalModel, ModelConfig, NanoModel
from phi_runner.errors import ConfigProblem, TrainFailed
from phi_runner.model import tokenizer as bpe

END_OF_TURN = "<|end|>"
_SAVED = "saved"
"""Marks a base folder that was written to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What training starts from; `base` is a name inside the result's folder, a local path or a hub id."""

    model: Any
    tokenizer: Any
    base: str
    revision: str
    """The hub's commit, so that later stages open the very same base."""


def start(config: ModelConfig, *, texts: list[str], seed: int, folder: Path) -> Start:
    """Open the model that the config names; a nano model is made from `seed` and saved under `folder/base`."""
    if config.path:
        path = Path(config.path).expanduser().resolve()
        model, tokenizer = pretrained(str(path))
        return Start(model=model, tokenizer=tokenizer, base=str(path), revision="")
    match config:
        case NanoModel():
            base = folder / "base"
            if (base / _SAVED).is_file():  # an interrupted training goes on from the very base it began with
                model, tokenizer = pretrained(str(base))
            else:
                model, tokenizer = _nano(config, texts=texts, seed=seed)
                save(model, tokenizer, folder=base)
                (base / _SAVED).touch()
            return Start(model=model, tokenizer=tokenizer, base="base", revision="")
        case HubModel():
            model, tokenizer = pretrained(
                config.repo, revision=config.revision, trust_remote_code=config.trust_remote_code
            )
            commit = getattr(model.config, "_commit_hash", None) or config.revision
            return Start(model=model, tokenizer=tokenizer, base=config.repo, revision=commit)
        case LocalModel():
            raise ConfigProblem("model=local needs model.path=FOLDER")
        case unknown:
            raise ConfigProblem(f"model={unknown.kind} cannot be opened")


def _nano(config: NanoModel, *, texts: list[str], seed: int) -> tuple[Any, Any]:
    from transformers import Phi3Config, Phi3ForCausalLM, set_seed

    tokenizer = bpe.train(texts, vocab_size=config.vocab_size, context=config.context)
    shape = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.heads,
        max_position_embeddings=config.context, original_max_position_embeddings=config.context,
        tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,  # Phi3Config's own default, 32000, lies outside a small vocabulary
    )  # fmt: skip
    set_seed(seed)
    return Phi3ForCausalLM(shape), tokenizer


def pretrained(place: str, *, revision: str = "main", trust_remote_code: bool = False) -> tuple[Any, Any]:
    """Open a local folder or a hub id in fp32; raises TrainFailed when it is not a chat model that can be read."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local = Path(place).is_dir()
    options: dict[str, Any] = {"local_files_only": True} if local else {"revision": revision}
    options["trust_remote_code"] = trust_remote_code
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        model = AutoModelForCausalLM.from_pretrained(place, dtype="float32", **options)
    except (OSError, ValueError, KeyError) as err:
        advice = "" if local else "; without network, download it elsewhere and type model.path=FOLDER"
        raise TrainFailed(f"cannot open the model {place}: {' '.join(str(err).split())[:200]}{advice}") from err
    if not tokenizer.is_fast:
        raise TrainFailed(f"{place} has only a slow tokenizer: tokenizer.json is needed")
    if not tokenizer.chat_template:
        raise TrainFailed(f"{place} has no chat template: put chat_template.jinja beside its tokenizer")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return model, tokenizer


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the model's own, the end of text, and Phi's end-of-turn marker."""
    known = model.generation_config.eos_token_id
    found = set(known if isinstance(known, list) else [] if known is None else [known])
    found.add(tokenizer.eos_token_id)
    if END_OF_TURN in tokenizer.get_vocab():
        found.add(tokenizer.convert_tokens_to_ids(END_OF_TURN))
    return sorted(token for token in found if token is not None)


def save(model: Any, tokenizer: Any, *, folder: Path) -> None:
    """Write weights (safetensors) or adapter, tokenizer, template, and a generation config that stops answers."""
    from transformers import GenerationConfig

    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    core.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=stop_ids(core, tokenizer)
    )
    core.config.use_cache = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    core.generation_config.save_pretrained(folder)


def trained(
    folder: Path, *, adapter: bool, base: str, revision: str, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """Open a training result in fp32; an adapter is merged into its base, so what returns is one plain model."""
    if not adapter:
        return pretrained(str(folder), trust_remote_code=trust_remote_code)
    from peft import PeftModel
    from transformers import AutoTokenizer

    model, _tokenizer = pretrained(base, revision=revision or "main", trust_remote_code=trust_remote_code)
    merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return merged, AutoTokenizer.from_pretrained(folder, local_files_only=True)
