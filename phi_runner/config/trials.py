"""Several values for one key: when they are allowed, and the trials that between them use every value."""

from collections.abc import Iterator, Sequence

from phi_runner.config.flags import CommandLine
from phi_runner.config.typed import Sweep, Typed
from phi_runner.config.typo import did_you_mean
from phi_runner.config.vocabulary import Vocabulary

_MOST_TRIALS = 100
"""Trials that are composed before a sweep starts; Hydra composes all of them again."""


def problem(item: Typed, words: Vocabulary, *, line: CommandLine, multirun: bool, optimiser: bool) -> str:
    """Say why a key cannot have several values here, or nothing."""
    if item.sweep is Sweep.none:
        return ""
    key = words.keys.get(item.key)
    if key and key.is_list and not all(isinstance(value, list) for value in item.values):
        return f"{item.key} is a list{did_you_mean([f'{item.key}=[{item.raw}]'])}"
    if item.about_hydra:
        return f"{item.text}: Hydra's own settings take one value"
    if not line.runs:
        return f"{item.text}: a config is shown for one value: type {item.spelled(item.values[0])}"
    if not multirun:
        quoted = f"""; if it is one text, quote it: {item.key}="'{item.raw}'\"""" if key and key.hint is str else ""
        return f"{item.text}: several values need a multirun: add -m{quoted}"
    if item.key.startswith("sweep."):
        return f"{item.text}: all trials of a sweep share it: type {item.spelled(item.values[0])}"
    if item.sweep is Sweep.interval and not optimiser:
        low, high = item.values
        return f"{item.text}: an interval needs a sweeper that optimises{did_you_mean([f'{item.key}={low},{high}'])}"
    return ""


def trials(items: Sequence[Typed]) -> Iterator[list[tuple[Typed, object]]]:
    """Yield choices of one value for each override, as few as let every value occur once."""
    longest = max((len(item.values) for item in items), default=1)
    for number in range(min(longest, _MOST_TRIALS)):
        yield [(item, item.values[min(number, len(item.values) - 1)]) for item in items]
