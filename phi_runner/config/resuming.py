"""What may not change between a checkpoint and the training that goes on from it, and what is told when it did."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from phi_runner.config import typo
from phi_runner.config.dump import flat
from phi_runner.config.schema import AzureCompute, CatalogTrain, RunConfig, StageName

SETTINGS_FILE = "settings.json"
NOT_THE_RESULT = (
    "train.resume_from", "train.save_steps", "train.micro_batch", "train.memory_gib", "train.keep_memory",
    "train.gradient_checkpointing",
)  # fmt: skip
"""Settings that say where training begins, how often it is saved, and what memory it takes: its result is the same."""
_FREE = (
    *NOT_THE_RESULT, "train.log_steps", "train.eval_batch_size", "train.speed", "train.attention", "train.loss",
    "train.compile", "model.recommended", "model.path",
)  # fmt: skip
"""What may change in the middle of a training: numbers stay equal but for rounding. A path is compared by its bytes."""
_KIND = "train.kind"
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What decided a training, as flat names and texts, and the libraries that did it."""

    decisive: Mapping[str, str]
    libraries: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Leave them in a checkpoint."""
        (folder / SETTINGS_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Settings | None":
        """Return those of a checkpoint, or None where there are none."""
        try:
            found = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            return cls(decisive=dict(found["decisive"]), libraries=dict(found["libraries"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def decisive(config: RunConfig) -> dict[str, str]:
    """Return the parts of a config that decide a training step by step."""
    found = flat(config, part="model") | flat(config, part="train") | {"seed": str(config.seed)}
    kept = {path: text for path, text in found.items() if not any(_inside(path, free) for free in _FREE)}
    if config.model.path:
        kept["files of model.path"] = _fingerprint(Path(config.model.path).expanduser())
    return kept


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say in one line what differs, or nothing; a setting that only one of them knows is not compared."""
    if before.get(_KIND) != after.get(_KIND):
        return f"train {before.get(_KIND)} -> {after.get(_KIND)}"
    differing = [name for name in before if name in after and before[name] != after[name]]
    told = [f"{name} {before[name] or repr('')} -> {after[name] or repr('')}" for name in differing[:_MOST_TOLD]]
    return "; ".join(told) + (f"; and {len(differing) - _MOST_TOLD} more" if len(differing) > _MOST_TOLD else "")


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what speaks against train.resume_from as far as the config and the checkpoint's small files tell."""
    typed = config.train.resume_from
    if not typed or StageName.train not in config.stages:
        return
    said = f"train.resume_from={typed}"
    if isinstance(config.compute, AzureCompute) or isinstance(config.train, CatalogTrain):
        yield f"{said} is a folder here, and a job in Azure goes on from its own checkpoints: leave it out"
        return
    folder = Path(typed).expanduser()
    if not folder.is_dir():
        yield f"{said} is no folder{_nearest(folder)}"
        return
    settings = Settings.read(folder)
    if settings is None:
        inside = sorted(folder.glob(f"**/checkpoint-*/{SETTINGS_FILE}"), key=lambda file: file.stat().st_mtime)
        near = f": type train.resume_from={inside[-1].parent}" if inside else ""
        yield f"{said} is no checkpoint, it lacks {SETTINGS_FILE}{near or ': name a folder checkpoint-N of a training'}"
        return
    if told := changes(settings.decisive, decisive(config)):
        yield f"{said} was left by other settings: {told}; type them as they were, or leave train.resume_from out"


def _inside(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}.")


def _fingerprint(folder: Path) -> str:
    """Return what tells one model folder from another in no time: names, sizes, and the bytes of its config."""
    try:
        facts = sorted((file.name, file.stat().st_size) for file in folder.iterdir() if file.is_file())
        shape = (folder / "config.json").read_bytes()
    except OSError:
        return "unreadable"
    return hashlib.sha256(repr(facts).encode() + shape).hexdigest()[:12]


def _nearest(folder: Path) -> str:
    if not folder.parent.is_dir():
        return f": there is no folder {folder.parent}"
    names = sorted(item.name for item in folder.parent.iterdir() if item.is_dir())
    return typo.did_you_mean(f"train.resume_from={folder.parent / name}" for name in typo.nearest(folder.name, names))
