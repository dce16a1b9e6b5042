"""Open models and tokenizers: made here, from a local folder, or from the hub; refuse what cannot chat."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.config.architectures import MODEL_TYPE
from phi_runner.config.schema import HubModel, LocalModel, ModelConfig, NanoModel
from phi_runner.errors import ConfigProblem, TrainFailed
from phi_runner.model import fingerprint, templates
from phi_runner.model import tokenizer as bpe

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
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    """Of the base, before anything is trained; written beside an adapter, it tells the base from others."""


def start(config: ModelConfig, *, texts: Iterable[str], seed: int, folder: Path, quantization: Any = None) -> Start:
    """Open the model that the config names; a nano model is made from `seed` and saved under `folder/base`.

    `quantization` is transformers' way to say that the weights are kept in 4 bits.
    """
    model, tokenizer, base, revision = _opened(config, texts=texts, seed=seed, folder=folder, quantization=quantization)
    model.config.pad_token_id = tokenizer.pad_token_id
    return Start(
        model=model, tokenizer=tokenizer, base=base, revision=revision, fingerprint=fingerprint.fingerprint(model)
    )


def _opened(
    config: ModelConfig, *, texts: Iterable[str], seed: int, folder: Path, quantization: Any
) -> tuple[Any, Any, str, str]:
    """Return model, tokenizer, base and revision."""
    if config.path:
        path = Path(config.path).expanduser().resolve()
        return *pretrained(str(path), quantization=quantization), str(path), ""
    match config:
        case NanoModel():
            base = folder / "base"
            if (base / _SAVED).is_file():  # an interrupted training goes on from the very base it began with
                return *pretrained(str(base)), "base", ""
            model, tokenizer = _nano(config, texts=texts, seed=seed)
            save(model, tokenizer, folder=base)
            (base / _SAVED).touch()
            return model, tokenizer, "base", ""
        case HubModel():
            model, tokenizer = pretrained(
                config.repo, revision=config.revision, trust_remote_code=config.trust_remote_code,
                quantization=quantization,
            )  # fmt: skip
            return model, tokenizer, config.repo, getattr(model.config, "_commit_hash", None) or config.revision
        case LocalModel():
            raise ConfigProblem("model=local needs model.path=FOLDER")
        case unknown:
            raise ConfigProblem(f"model={unknown.kind} cannot be opened")


def _nano(config: NanoModel, *, texts: Iterable[str], seed: int) -> tuple[Any, Any]:
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


def pretrained(
    place: str, *, revision: str = "main", trust_remote_code: bool = False, quantization: Any = None
) -> tuple[Any, Any]:
    """Open a local folder or a hub id in fp32; raises TrainFailed when it is not a chat model that can be read.

    What it is stands in files of a few kilobytes, which are read before its weights are.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    local = Path(place).is_dir()
    options: dict[str, Any] = {"local_files_only": True} if local else {"revision": revision}
    options["trust_remote_code"] = trust_remote_code
    weights = {"dtype": "float32"} if quantization is None else _in_four_bits(quantization)
    try:
        _check_architecture(AutoConfig.from_pretrained(place, **options), place=place)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        _check_tokenizer(tokenizer, place=place)
        model = AutoModelForCausalLM.from_pretrained(place, **weights, **options)
    except (OSError, ValueError, KeyError) as err:
        advice = "" if local else "; without network, download it elsewhere and type model.path=FOLDER"
        raise TrainFailed(f"cannot open the model {place}: {' '.join(str(err).split())[:200]}{advice}") from err
    tokenizer.pad_token = templates.padding(tokenizer)
    return model, tokenizer


def tokenizer(folder: Path) -> Any:
    """Open the tokenizer of a training's result, without its weights."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _in_four_bits(quantization: Any) -> dict[str, Any]:
    """Return how to open weights in 4 bits, on the device that this process has chosen."""
    import torch

    dtype = quantization.bnb_4bit_compute_dtype
    return {"quantization_config": quantization, "dtype": dtype, "device_map": {"": torch.cuda.current_device()}}


def _check_architecture(settings: Any, *, place: str) -> None:
    if settings.model_type != MODEL_TYPE:
        raise TrainFailed(
            f"{place} is a model of type {settings.model_type}, and phi_runner trains the Phi-3 architecture "
            f"({MODEL_TYPE}): type model=phi3_mini_4k, model=phi4_mini or another of its presets"
        )


def _check_tokenizer(tokenizer: Any, *, place: str) -> None:
    if not tokenizer.is_fast:
        raise TrainFailed(f"{place} has only a slow tokenizer: tokenizer.json is needed")
    if not tokenizer.chat_template:
        raise TrainFailed(f"{place} has no chat template: put chat_template.jinja beside its tokenizer")


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the model's own, the template's end of turn, and the end of text."""
    known = model.generation_config.eos_token_id
    found = set(known if isinstance(known, list) else [] if known is None else [known])
    found.update(tokenizer.convert_tokens_to_ids(list(templates.stops(tokenizer))))
    return sorted(found)


def save(
    model: Any, tokenizer: Any, *, folder: Path, weights: dict[str, Any] | None = None,
    base: fingerprint.Fingerprint | None = None,
) -> None:  # fmt: skip
    """Write weights (safetensors) or adapter, tokenizer, template, and a generation config that stops answers.

    `weights` are all of them by name, where `model` holds a share of them. `base` is the fingerprint of what an adapter
    was trained on, written beside it.
    """
    from transformers import GenerationConfig

    adapter = hasattr(model, "get_base_model")
    core = model.get_base_model() if adapter else model
    core.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=stop_ids(core, tokenizer)
    )
    core.config.use_cache = True
    core.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
    core.generation_config.save_pretrained(folder)
    if adapter and base:
        fingerprint.write(base, adapter=folder)
