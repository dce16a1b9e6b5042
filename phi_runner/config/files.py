"""What a config names on this machine: data files, a model folder, a folder to write into."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from phi_runner.config import typo
from phi_runner.config.architectures import MODEL_TYPE
from phi_runner.config.schema import FileData, NanoModel, RunConfig, StageName

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
_WEIGHTS = ("*.safetensors", "*.bin")


def problems(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each path that the selected stages cannot use."""
    if StageName.data in config.stages and isinstance(config.data, FileData):
        yield from _looked_at("data.train_file", config.data.train_file, _data_file)
        if config.data.eval_file:
            yield from _looked_at("data.eval_file", config.data.eval_file, _data_file)
    if StageName.train in config.stages and config.model.path and not isinstance(config.model, NanoModel):
        longest = config.train.max_length
        yield from _looked_at("model.path", config.model.path, lambda _key, path: _model_folder(path, longest=longest))
    probes = config.evaluate.probe and StageName.evaluate in config.stages
    if probes and config.evaluate.probe_file:
        yield from _looked_at("evaluate.probe_file", config.evaluate.probe_file, _data_file)
    yield from _looked_at("outputs", config.outputs, _outputs)


def _looked_at(key: str, typed: str, look: Callable[[str, str], Iterator[str]]) -> Iterator[str]:
    """Yield what `look` finds; a path that the system cannot even look at is a finding too."""
    try:
        yield from look(key, typed)
    except OSError as err:
        yield f"{key}={typed}: {err.strerror}: type {key}=PATH for another place"
    except RuntimeError:  # from expanduser
        yield f"{key}={typed}: there is no such user: type {key}=PATH"


def _data_file(key: str, typed: str) -> Iterator[str]:
    file = Path(typed).expanduser()
    if not typed:
        yield f"{key} is empty: type {key}=PATH"
    elif file.is_dir():
        inside = sorted(item.name for item in file.iterdir() if item.suffix in {".jsonl", ".json", ".csv", ".parquet"})
        yield f"{key}={typed} is a folder: type {key}={file / inside[0] if inside else 'FILE'}"
    elif not file.exists():
        yield f"{key}={typed} does not exist{_nearest_file(key, file)}"
    elif not file.is_file():
        yield f"{key}={typed} is not a file: type {key}=PATH of a JSONL, JSON, CSV or Parquet file"
    elif not os.access(file, os.R_OK):
        yield f"{key}={typed} cannot be read: type chmod u+r {typed}"


def _nearest_file(key: str, file: Path) -> str:
    if not file.parent.is_dir():
        return f": there is no folder {file.parent} in {Path.cwd()}"
    names = sorted(item.name for item in file.parent.iterdir() if item.is_file())
    return typo.did_you_mean(f"{key}={file.parent / name}" for name in typo.nearest(file.name, names))


def _model_folder(typed: str, *, longest: int) -> Iterator[str]:
    folder = Path(typed).expanduser()
    said = f"model.path={folder}"
    if not folder.is_dir():
        near = []
        if folder.parent.is_dir():
            near = typo.nearest(folder.name, sorted(item.name for item in folder.parent.iterdir() if item.is_dir()))
        yield f"{said} is no folder{typo.did_you_mean(f'model.path={folder.parent / name}' for name in near)}"
        return
    settings = _json(folder / "config.json")
    if other := _no_phi3(said, folder, settings):
        yield other
        return
    lacks = []
    if settings is None:
        lacks.append("config.json")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        lacks.append("a tokenizer (tokenizer.json)")
    if not _has_template(folder):
        lacks.append("a chat template (chat_template.jinja)")
    if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        lacks.append("weights (model.safetensors)")
    if lacks:
        yield f"{said} lacks {', '.join(lacks)}: save model and tokenizer there with save_pretrained"
    context = (settings or {}).get("max_position_embeddings")
    if isinstance(context, int) and longest > context:
        yield (
            f"train.max_length={longest} is longer than the {context} tokens that {said} can read: "
            f"type train.max_length={context}"
        )


def _no_phi3(said: str, folder: Path, settings: dict[str, object] | None) -> str:
    """Say what a folder holds instead of a whole model of the Phi-3 architecture, or nothing."""
    kind = (settings or {}).get("model_type")
    if isinstance(kind, str) and kind != MODEL_TYPE:
        return (
            f"{said} holds a model of type {kind}, and phi_runner trains the Phi-3 architecture ({MODEL_TYPE}), which "
            "Phi-3, Phi-3.5, Phi-4 and Phi-4 mini have: type the folder of one, or model=phi3_mini_4k"
        )
    adapter = _json(folder / "adapter_config.json")
    if settings is not None or adapter is None:
        return ""
    base = adapter.get("base_model_name_or_path")
    of_it = f" ({base})" if isinstance(base, str) and base else ""
    return (
        f"{said} holds an adapter without its base{of_it}, and training starts from a whole model: merge the two with "
        "stages=[register], then type model.path=FOLDER of what that leaves in store/register/*/merged"
    )


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    return bool((_json(folder / "tokenizer_config.json") or {}).get("chat_template"))


def _json(file: Path) -> dict[str, object] | None:
    """Return what a JSON file holds, or None where it holds no object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _outputs(key: str, typed: str) -> Iterator[str]:
    folder = Path(typed).expanduser()
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        yield f"{key}={typed}: {existing} is a file: type {key}=FOLDER"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"{key}={typed}: {existing} cannot be written to: type {key}=FOLDER for another place"
