"""The tokenizer of a model that lies on this machine, without its weights; nothing is downloaded."""

from pathlib import Path
from typing import Any

from phi_runner.config.schema import HubModel, ModelConfig
from phi_runner.errors import TrainFailed

_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def files(config: ModelConfig) -> list[Path]:
    """Return the files that decide a model's tokens; none where the model is made here or is not on this machine."""
    if config.path:
        folder = Path(config.path).expanduser()
        return [folder / name for name in _FILES if (folder / name).is_file()]
    if not isinstance(config, HubModel):
        return []
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(config.repo, name, revision=config.revision) for name in _FILES]
    return [Path(file) for file in found if isinstance(file, str)]


def opened(config: ModelConfig) -> Any:
    """Open the tokenizer whose `files` are there; raises TrainFailed when it is not one that can chat."""
    from transformers import AutoTokenizer

    place = files(config)[0].parent
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    except (OSError, ValueError, KeyError) as err:
        raise TrainFailed(f"cannot open the tokenizer in {place}: {' '.join(str(err).split())[:200]}") from err
    if not tokenizer.is_fast or not tokenizer.chat_template:
        raise TrainFailed(f"the tokenizer in {place} is slow or has no chat template")
    return tokenizer
