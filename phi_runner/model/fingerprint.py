"""Which base an adapter was trained on: a few values of every weight, written beside the adapter and compared later."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi_runner.errors import MergeFailed

BASE_FILE = "base.json"
ADAPTER_FILE = "adapter_model.safetensors"
_VALUES = 512
"""Values looked at in each weight; any further training changes some of them in almost every weight."""

Fingerprint = Mapping[str, str]
"""A hash of each weight's shape and sampled values, by the weight's name."""


def fingerprint(model: Any) -> dict[str, str]:
    """Return the fingerprint of a plain model; weights that are kept in 4 bits are left out.

    Values are compared as bf16: opened in fp32 or in bf16, on a processor or a GPU, a base is the same base.
    """
    import torch

    found = {}
    for name, weight in model.named_parameters():
        if not weight.is_floating_point():
            continue
        flat = weight.detach().reshape(-1)
        places = torch.linspace(0, len(flat) - 1, min(_VALUES, len(flat)), dtype=torch.float64).long()
        values = flat[places.to(flat.device)].to(device="cpu", dtype=torch.bfloat16).view(torch.int16).numpy()
        seen = hashlib.sha256(repr(tuple(weight.shape)).encode())
        seen.update(values.tobytes())
        found[name] = seen.hexdigest()[:16]
    return found


def write(base: Fingerprint, *, adapter: Path) -> None:
    """Write a base's fingerprint beside the adapter trained on it, and the hash of the adapter's own file."""
    values = {"base": dict(base), "adapter": _sha256(adapter / ADAPTER_FILE)}
    (adapter / BASE_FILE).write_text(json.dumps(values, indent=1) + "\n", encoding="ascii")


def check_file(adapter: Path) -> None:
    """Raise MergeFailed when the adapter's file is not the one that training left."""
    told = _read(adapter)
    if told is not None and told["adapter"] != _sha256(adapter / ADAPTER_FILE):
        raise MergeFailed(
            f"{adapter / ADAPTER_FILE} is not the file that training left (its sha256 differs from {BASE_FILE}'s): "
            "train again with force=[train], or restore the file"
        )


def check_base(model: Any, *, adapter: Path, base: str) -> None:
    """Raise MergeFailed when an opened base is not the one that the adapter was trained on."""
    told = _read(adapter)
    if told is None:
        _check_name(adapter, base=base)
        return
    expected, found = told["base"], fingerprint(model)
    same = [name for name in expected if expected[name] == found.get(name)]
    if len(same) < len(expected) or not expected:
        raise MergeFailed(
            f"{base} is not the base that the adapter in {adapter} was trained on: {len(expected) - len(same)} of "
            f"{len(expected)} weights differ; name the base of that training, or train again with force=[train]"
        )


def _check_name(adapter: Path, *, base: str) -> None:
    """Compare names where training left no fingerprint: an adapter that another program trained."""
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    named = str(settings.get("base_model_name_or_path") or "")
    if named and Path(named).name != Path(base).name:
        raise MergeFailed(f"the adapter in {adapter} was trained on {named}, not on {base}: name its own base")


def _read(adapter: Path) -> dict[str, Any] | None:
    file = adapter / BASE_FILE
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {"base": dict(told["base"]), "adapter": str(told["adapter"])}
    except (ValueError, KeyError, TypeError) as err:
        raise MergeFailed(f"{file} is damaged: train again with force=[train]") from err


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
