"""What the files under conf/ and recipes/ say about themselves."""

from pathlib import Path

from phi_runner.config import places
from phi_runner.config.schema import SCHEMAS


def test_every_group_has_a_folder_and_every_folder_a_group() -> None:
    hydras_own = {"hydra", "launcher"}  # sweepers, and launchers under a name that Hydra's plugins do not use
    assert {item.name for item in places.folder("conf").iterdir() if item.is_dir()} == set(SCHEMAS) | hydras_own


def test_every_preset_names_a_schema_of_its_group() -> None:
    for group, kinds in SCHEMAS.items():
        presets = places.presets(group)
        assert {preset.kind for preset in presets.values()} == set(kinds)


def test_presets_stay_small() -> None:
    for file in places.folder("conf").glob("*/*.yaml"):
        assert len(file.read_text().splitlines()) <= 15, file


def test_presets_of_the_user_stand_beside_ours(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "# my rows\ndefaults:\n  - jsonl\n  - _self_\ntrain_file: rows.jsonl\n"
    )
    found = places.presets("data", extra=tmp_path)
    assert (found["mine"].kind, found["mine"].about) == ("file", "my rows")
    assert found["sample"].kind == "sample"


def test_choices_of_a_recipe_are_read_from_its_file() -> None:
    assert places.chosen()["deploy"] == "none"
    assert places.chosen("full")["deploy"] == "local"
    assert places.chosen("tutorial_code_first")["model"] == "phi3_5_mini"
