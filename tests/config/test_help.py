"""Help names everything that can be chosen, each in one line taken from its own file."""

from phi_runner.config import places
from phi_runner.config.flags import read
from phi_runner.config.help import USAGE, answer, help_text
from phi_runner.config.schema import SCHEMAS
from phi_runner.stages import STAGES


def test_every_recipe_group_option_and_stage_has_its_line() -> None:
    text = help_text(stages=[(stage.name, stage.about) for stage in STAGES])
    lines = [line.split() for line in text.splitlines()]
    for group in (*SCHEMAS, "recipe"):
        for preset in places.presets(group).values():
            assert preset.about, f"{group}/{preset.name} has no comment in its first line"
            assert [preset.name, *preset.about.split()] in lines
    for stage in STAGES:
        assert [stage.name, *stage.about.split()] in lines
    assert max(len(line) for line in text.splitlines()) <= 120


def test_examples_in_the_help_are_right_lines() -> None:
    from phi_runner.config.precheck import precheck

    text = help_text(stages=[])
    shown = text.partition("behind the recipe:\n")[2].partition("Look before")[0]
    examples = [line.strip().partition("  ")[0] for line in shown.splitlines()]
    assert len([precheck(read(example.split())) for example in examples]) > 8


def test_nothing_typed_says_what_to_type() -> None:
    assert answer(read([]), stages=list) == 2
    assert USAGE.count("python -m phi_runner") == 3
