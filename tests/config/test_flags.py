"""Flags are Hydra's, read by us: the table is held against Hydra's own."""

import shlex

import pytest
from hydra._internal.utils import get_args_parser

from phi_runner.config.flags import FLAGS, read
from phi_runner.errors import UsageProblem


def test_the_table_is_hydras_own() -> None:
    theirs = {}
    for action in get_args_parser()._actions:
        names = sorted(action.option_strings, key=len, reverse=True)
        if names:
            choices = tuple(action.choices or ()) if names[0] != "--help" else ()
            theirs[names[0]] = (names[1] if len(names) > 1 else "", action.nargs != 0, choices, action.const or "")
    ours = {name: (flag.short, flag.value, flag.choices, flag.default) for name, flag in FLAGS.items()}
    assert ours == {name: (*rest, const if isinstance(const, str) else "") for name, (*rest, const) in theirs.items()}


@pytest.mark.parametrize(
    ("typed", "flags", "overrides"),
    [
        ("+recipe=full", {}, ["+recipe=full"]),
        ("a=1 -m b=2", {"--multirun": ""}, ["a=1", "b=2"]),
        ("-c job a=1 --resolve", {"--cfg": "job", "--resolve": ""}, ["a=1"]),
        ("--cfg=job", {"--cfg": "job"}, []),
        ("--info a=1", {"--info": "all"}, ["a=1"]),
        ("-i defaults a=1", {"--info": "defaults"}, ["a=1"]),
        ("-cd presets", {"--config-dir": "presets"}, []),
    ],
)
def test_words_are_sorted(typed: str, flags: dict[str, str], overrides: list[str]) -> None:
    line = read(shlex.split(typed))
    assert (line.flags, line.overrides) == (flags, overrides)
    again = get_args_parser().parse_args(line.arguments())
    assert again.overrides == overrides


@pytest.mark.parametrize(
    "typed", ["--cfg", "--cfg jbo", "--config-dir", "--config-dir -m", "--cfg job -m", "--resolve"]
)
def test_a_flag_with_a_wrong_value_or_companion_is_a_usage_error(typed: str) -> None:
    with pytest.raises(UsageProblem):
        read(shlex.split(typed))


def test_only_runs_run() -> None:
    assert read(["+recipe=full"]).runs
    assert read(["-m"]).runs
    assert not read(["--cfg", "job"]).runs
    assert not read(["--hydra-help"]).runs
    assert not read(["-sc", "install=bash"]).ours
    assert read([]).asks
    assert read(["--version"]).asks
    assert not read(["-m"]).asks
