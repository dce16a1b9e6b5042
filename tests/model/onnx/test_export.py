"""An export is made once, is whole or not there, and says what transformers says."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime_genai")

from phi_runner.errors import DeployFailed, PhiRunnerError
from phi_runner.events import Event, Events, StageEvents
from phi_runner.model.onnx import agreement, build, export, facts
from phi_runner.model.onnx.decoder import Decoder
from tests import shrunk


def listening() -> tuple[StageEvents, list[str]]:
    """Return events and what is said through them."""
    said: list[str] = []

    def hear(event: Event) -> None:
        said.append(event.message)

    events = Events()
    events.listen(hear)
    return StageEvents(events, "deploy"), said


def test_one_of_two_runs_exports_and_what_a_killed_one_left_is_made_anew(tiny_model: Path, tmp_path: Path) -> None:
    events, said = listening()
    folder = tmp_path / "engines" / f"onnx-fp32-{export._key(tiny_model)}"
    for left in (folder, folder.with_name(f".{folder.name}.partial")):
        left.mkdir(parents=True)
        (left / "model.onnx").write_bytes(b"half")

    def ensure(_run: int) -> export.Exported:
        return export.ensure(tiny_model, precision="fp32", outputs=tmp_path, events=events)

    with ThreadPoolExecutor(2) as runs:
        first, second = runs.map(ensure, range(2))

    assert first == second == ensure(3)
    assert first.folder == folder
    assert first.agreement.greedy_match == first.agreement.same_tokens == 1
    assert first.agreement.max_logit_difference <= first.agreement.limit
    assert sum(message.startswith("exporting the model") for message in said) == 1
    assert sum("is no whole ONNX export" in message for message in said) == 1
    assert "another run is exporting this model: waiting for it" in said
    assert sorted(item.suffix for item in folder.parent.iterdir() if item != folder) == [".lock", ".log"]


def test_int4_is_reported_and_not_refused(quantised: Path) -> None:
    found = agreement.read(quantised)
    assert found.precision == "int4"
    assert 0.3 < found.correlation < 1
    assert f"{found.same_tokens:.0%} of their tokens come before the first that differs" in str(found)
    assert (quantised / "model.onnx.data").stat().st_size > 0


@pytest.mark.parametrize("name", ["Phi-3-medium-4k-instruct", "Phi-3-mini-128k-instruct"])
def test_a_presets_window_and_long_rope_are_the_same_beyond_their_borders(
    exporting: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    model = shrunk.make(f"microsoft/{name}", tmp_path / "model")
    found = agreement.read(exporting(model, tmp_path / "onnx"))
    borders = {"Phi-3-medium-4k-instruct": [264], "Phi-3-mini-128k-instruct": [104]}
    assert found.long_texts == borders[name]
    assert found.greedy_match == 1
    assert found.max_logit_difference <= found.limit


def test_a_partly_rotated_model_with_shared_heads_is_the_same(exporting: Callable[..., Path], tmp_path: Path) -> None:
    found = agreement.read(exporting(_phi4_mini(tmp_path / "model"), tmp_path / "onnx"))
    assert (found.greedy_match, found.long_texts) == (1, [104])


def test_what_onnxruntime_cannot_run_is_refused_in_one_line(exporting: Callable[..., Path], tmp_path: Path) -> None:
    model = shrunk.make(
        "microsoft/Phi-4-mini-instruct", tmp_path / "model"
    )  # heads too narrow to rotate a part of them
    with pytest.raises(DeployFailed, match=r"cos_cache dimension 1 must be .*type deploy\.engine=transformers$"):
        exporting(model, tmp_path / "onnx")


def test_another_architecture_is_refused_before_anything_starts(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(DeployFailed, match=r"of type llama, .* exports phi3: type deploy\.engine=transformers"):
        export.ensure(model, precision="fp32", outputs=tmp_path, events=listening()[0])


def test_damaged_weights_are_refused_in_one_line(
    exporting: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(PhiRunnerError, match=r"cannot export .*type deploy\.engine=transformers"):
        exporting(model, tmp_path / "onnx")


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja"])
def test_a_missing_or_cut_file_is_named_when_the_engine_starts(exported: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "onnx")
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(DeployFailed, match=f"{name} has .* bytes instead of .*makes it anew"):
        Decoder(folder)
    (folder / name).unlink()
    with pytest.raises(DeployFailed, match=f"{name} is missing"):
        Decoder(folder)


def test_a_file_that_is_no_model_is_refused_by_name(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "onnx")
    size = (folder / facts.MODEL).stat().st_size
    (folder / facts.MODEL).write_bytes(b"\0" * size)
    with pytest.raises(DeployFailed, match=r"onnxruntime cannot open .*model\.onnx"):
        Decoder(folder)


def test_other_weights_have_another_key(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    assert export._key(model) == export._key(tiny_model)
    (model / "chat_template.jinja").write_text("another")
    assert export._key(model) != export._key(tiny_model)


def test_the_command_leaves_its_problem_in_one_line(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["NobodyForCausalLM"]}))
    into = tmp_path / "onnx"
    into.mkdir()
    words = ["build", "--model", str(model), "--precision", "fp32", "--into", str(into)]
    monkeypatch.setattr("sys.argv", words)
    assert build.main() == 1
    assert "not currently supported" in (into / export.PROBLEM).read_text()


def _phi4_mini(folder: Path) -> Path:
    """Write Phi-4 mini's kind of model with heads as wide as onnxruntime needs them."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    tokenizer = shrunk.make_tokenizer("phi4_mini")
    rope = {
        "rope_type": "longrope", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5,
        "short_factor": [1.0 + 0.01 * place for place in range(8)], "long_factor": [1.0 + place for place in range(8)],
    }  # fmt: skip
    config = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, original_max_position_embeddings=96, rope_parameters=rope,
        tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
