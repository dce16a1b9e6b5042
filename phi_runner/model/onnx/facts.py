"""What an exported folder says of itself, written last, so that its presence means that the folder is whole."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from phi_runner.errors import DeployFailed

FILE = "export.json"
MODEL = "model.onnx"
SPECIAL_TOKENS = "special_tokens.json"
"""What a chat template may ask for by name, such as `eos_token`."""
INSTEAD = "the same command makes it anew, and deploy.engine=transformers does without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the engine must know and the ONNX file does not tell."""

    precision: str
    context: int
    """Tokens that prompt and answer may have together."""
    rope_switch: int | None
    """A text longer than this is read with the frequencies for long texts, all of it; None: there is one kind only."""
    stops: list[int]
    """Tokens that end an answer."""
    layers: int
    kv_heads: int
    head_size: int
    made_by: dict[str, str]
    """Versions of the libraries that made it."""


def write(facts: Facts, *, folder: Path) -> None:
    """Write the facts and the size of every other file of the folder."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name != FILE}
    (folder / FILE).write_text(json.dumps({"facts": asdict(facts), "sizes": sizes}, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Facts:
    """Read the facts; raises DeployFailed, which names the file, when the folder is not as it was left."""
    file = folder / FILE
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        facts, sizes = Facts(**told["facts"]), dict(told["sizes"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DeployFailed(f"{file} cannot be read, so {folder} is no whole ONNX export: {INSTEAD}") from err
    for name, size in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise DeployFailed(f"{folder / name} {what}, the ONNX export is broken: {INSTEAD}")
    return facts
