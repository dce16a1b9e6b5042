"""Merge an adapter into its base, and prove that the one model says what the two said."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi_runner.errors import MergeFailed
from phi_runner.model import fingerprint, load
from phi_runner.model.parity import Parity, Witness, served, witness

PARITY_FILE = "parity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """One plain model, and how near it is to base and adapter."""

    model: Any
    tokenizer: Any
    witness: Witness
    """What base and adapter said."""
    parity: Parity


def trained(
    folder: Path, *, adapter: bool, base: str, revision: str, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """Open a training result in fp32; an adapter is merged into its base, so what returns is one plain model.

    Raises MergeFailed when the base is another one, or when the merged model does not say the same.
    """
    if not adapter:
        return load.pretrained(str(folder), trust_remote_code=trust_remote_code)
    made = merged(folder, base=base, revision=revision, trust_remote_code=trust_remote_code)
    return made.model, made.tokenizer


def merged(adapter: Path, *, base: str, revision: str, trust_remote_code: bool = False) -> Merged:
    """Merge an adapter's folder into its base; raises MergeFailed for another base, missing layers, other answers.

    What can be told from files of a few kilobytes is told before any weights are opened.
    """
    from transformers import AutoTokenizer

    revision = revision or "main"
    check_files(adapter, base=base, revision=revision, trust_remote_code=trust_remote_code)
    plain, _tokenizer = load.pretrained(base, revision=revision, trust_remote_code=trust_remote_code)
    fingerprint.check_base(plain, adapter=adapter, base=base)
    tokenizer = AutoTokenizer.from_pretrained(adapter, local_files_only=True)
    both = _attached(plain, adapter)
    before = witness(both, tokenizer)
    one = both.merge_and_unload(safe_merge=True)
    return Merged(
        model=one, tokenizer=tokenizer, witness=before,
        parity=before.compare(one, said=f"merging the adapter in {adapter} into {base}"),
    )  # fmt: skip


def merged_to(
    folder: Path, *, adapter: Path, base: str, revision: str, trust_remote_code: bool = False
) -> dict[str, Parity]:
    """Merge into a folder and compare again: opened anew, and answering through the engine that will serve it.

    Returns, and leaves in `parity.json` beside the folder, how near each is to base and adapter.
    """
    made = merged(adapter, base=base, revision=revision, trust_remote_code=trust_remote_code)
    before, found = made.witness, {"merged": made.parity}
    load.save(made.model, made.tokenizer, folder=folder)
    del made  # one copy of the weights in memory at a time
    again, _tokenizer = load.pretrained(str(folder))
    found["reloaded"] = before.compare(again, said=f"saving the merged model to {folder} and opening it again")
    del again
    found["served"] = served(folder, before)
    write(found, before, file=folder.with_name(PARITY_FILE))
    return found


def write(found: dict[str, Parity], before: Witness, *, file: Path) -> None:
    """Write the comparisons, and what base and adapter answered, for any later server to be held against."""
    answers = [
        {"messages": list(messages), "answer": answer}
        for messages, answer in zip(before.questions, before.answers, strict=True)
    ]
    values = {"parity": {name: asdict(parity) for name, parity in found.items()}, "answers": answers}
    file.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_files(adapter: Path, *, base: str, revision: str, trust_remote_code: bool) -> None:
    """Compare an adapter's file with the base's architecture, without weights; raises MergeFailed."""
    for name in ("adapter_config.json", fingerprint.ADAPTER_FILE):
        if not (adapter / name).is_file():
            raise MergeFailed(f"{adapter} has no {name}, so it holds no adapter: train again with force=[train]")
    fingerprint.check_file(adapter)
    expected = _expected(adapter, base=base, revision=revision, trust_remote_code=trust_remote_code)
    found = _shapes(adapter / fingerprint.ADAPTER_FILE)
    _refuse(adapter, "lacks what its settings name", sorted(expected.keys() - found.keys()))
    _refuse(adapter, f"holds what {base} has no place for", sorted(found.keys() - expected.keys()))
    other = sorted(name for name in expected if expected[name] != found[name])
    _refuse(adapter, f"was made for a base of another size than {base}", other)


def _refuse(adapter: Path, what: str, names: Sequence[str]) -> None:
    if names:
        raise MergeFailed(
            f"the adapter in {adapter} {what}: {len(names)} tensors, such as {names[0]}; "
            "name the base that it was trained on, or train again with force=[train]"
        )


def _expected(adapter: Path, *, base: str, revision: str, trust_remote_code: bool) -> dict[str, tuple[int, ...]]:
    """Return the tensors that the adapter's settings ask for, by building the network without memory."""
    import torch
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoConfig, AutoModelForCausalLM

    options: dict[str, Any] = {"local_files_only": True} if Path(base).is_dir() else {"revision": revision}
    try:
        settings = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code, **options)
        wanted = PeftConfig.from_pretrained(str(adapter))
        wanted.base_model_name_or_path = None  # else PEFT warns where a base lies elsewhere than it did
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(settings, trust_remote_code=trust_remote_code)
            both = get_peft_model(empty, wanted)
    except (OSError, ValueError) as err:
        raise MergeFailed(
            f"the adapter in {adapter} does not fit {base}: {' '.join(str(err).split())[:200]}; "
            "name the base that it was trained on"
        ) from err
    return {name: tuple(value.shape) for name, value in get_peft_model_state_dict(both).items()}


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except SafetensorError as err:
        raise MergeFailed(f"{file} is damaged ({err}): train again with force=[train]") from err


def _attached(plain: Any, adapter: Path) -> Any:
    """Put the adapter on its base, and make sure that every value of its file arrived."""
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(adapter / fingerprint.ADAPTER_FILE)
    _refuse(adapter, "holds no numbers", [name for name, value in stored.items() if not value.isfinite().all()])
    both = PeftModel.from_pretrained(plain, str(adapter)).eval()
    loaded = get_peft_model_state_dict(both)
    lost = [name for name, value in stored.items() if not torch.equal(loaded[name].cpu(), value.to(loaded[name].dtype))]
    _refuse(adapter, "was not read as it is stored", lost)
    return both
