"""One Hugging Face folder out of a model as MLflow saves it: links, no copies, for the model is mounted read-only."""

from pathlib import Path

from phi_runner.errors import DeployFailed

_DEEPEST = 3
_PARTS = ("model", "components/tokenizer", "data/model", "data/tokenizer", "data/config")
"""Where MLflow keeps weights and tokenizer, and where the model catalog's fine-tune does."""


def found(root: Path) -> Path:
    """Return the folder at or below `root` that holds `MLmodel`, or `config.json`; raises DeployFailed."""
    for name in ("MLmodel", "config.json"):
        for depth in range(_DEEPEST + 1):
            files = sorted(root.glob("*/" * depth + name))
            if files:
                return files[0].parent
    raise DeployFailed(f"there is no model in {root}: neither MLmodel nor config.json")


def joined(root: Path, *, folder: Path) -> Path:
    """Return a folder that plain transformers can load: the model itself, or links to its parts made in `folder`."""
    model = found(root)
    if not (model / "MLmodel").is_file():
        return model
    parts = [model / part for part in _PARTS if (model / part).is_dir()]
    if not parts:
        raise DeployFailed(f"{model} holds no transformers model: register the model again with force=[register]")
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for file in sorted(part.iterdir()):
            link = folder / file.name
            if not link.is_symlink():  # the tokenizer's files may lie in both
                link.symlink_to(file.resolve())
    return folder
