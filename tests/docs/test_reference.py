"""The generated reference says of every setting what the schema says, and of every preset what its file says."""

import re

import pytest

from phi_runner.config.ranges import RANGES
from phi_runner.config.schema import SCHEMAS
from phi_runner.config.vocabulary import vocabulary
from scripts.docs import presets, reference
from scripts.docs.fields import own

_ENTRY = re.compile(
    r"^`(?P<path>[\w.]+)` \{ #(?P<anchor>\S+) \}\n:   (?P<kind>.+)\n(?:\n    (?P<about>.+)\n)?", re.MULTILINE
)


@pytest.fixture(scope="module")
def page() -> str:
    return reference.page()


@pytest.fixture(scope="module")
def entries(page: str) -> list[re.Match[str]]:
    return list(_ENTRY.finditer(page))


def test_every_setting_is_listed_and_none_besides(entries: list[re.Match[str]]) -> None:
    listed = {entry["path"] for entry in entries}
    known = {path for path, key in vocabulary().keys.items() if key.is_open or not key.is_table}
    assert (known - listed, listed - known) == (set(), set())


def test_every_setting_says_what_it_is(entries: list[re.Match[str]]) -> None:
    assert sorted(entry["path"] for entry in entries if not entry["about"]) == []


def test_an_anchor_is_the_settings_name(entries: list[re.Match[str]]) -> None:
    anchors = [entry["anchor"] for entry in entries]
    assert len(anchors) == len(set(anchors))
    assert {entry["path"] for entry in entries} <= set(anchors)


@pytest.mark.parametrize(("path", "allowed"), RANGES.items())
def test_a_number_says_its_range(path: str, allowed: object, entries: list[re.Match[str]]) -> None:
    told = [entry["kind"] for entry in entries if entry["path"] == path]
    assert told
    assert all(f", {allowed};" in kind for kind in told)


def test_defaults_are_told_as_they_would_be_typed() -> None:
    lora = {setting.path: setting for setting in own(SCHEMAS["train"]["lora"], prefix="train.")}
    assert lora["train.rank"].default == "`16`"
    assert lora["train.targets"].default == "`[qkv_proj,o_proj,gate_up_proj,down_proj]`"
    assert lora["train.learning_rate"].default == "that of `model.recommended.lora_learning_rate`"
    azure = {setting.path: setting for setting in own(SCHEMAS["compute"]["azure"], prefix="compute.")}
    assert (azure["compute.cluster"].default, azure["compute.gpu"].default) == ("", "`false`")


def test_presets_show_what_they_set(page: str) -> None:
    for group in (*SCHEMAS, *presets.hydra_groups()):
        for preset in presets.of(group):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{group}={preset.name}` |"))
            assert preset.about
            assert all(f"`{text}`" in row for text in preset.sets)
    tutorial = next(preset for preset in presets.of("train") if preset.name == "tutorial")
    assert "train.warmup_ratio=0.2" in tutorial.sets
