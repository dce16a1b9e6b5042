"""The words of a command line that start with a dash; Hydra's flags, read here so that a wrong one ends in one line."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from phi_runner.config import typo
from phi_runner.errors import UsageProblem


class Flag(NamedTuple):
    """One flag: its short form, the values that may follow, and what a missing value means."""

    short: str = ""
    value: bool = False
    choices: tuple[str, ...] = ()
    default: str = ""


_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS = {
    "--help": Flag("-h"),
    "--version": Flag(),
    "--multirun": Flag("-m"),
    "--run": Flag("-r"),
    "--cfg": Flag("-c", True, ("job", "hydra", "all")),
    "--resolve": Flag(),
    "--package": Flag("-p", True),
    "--info": Flag("-i", True, _INFO, "all"),
    "--config-dir": Flag("-cd", True),
    "--config-name": Flag("-cn", True),
    "--config-path": Flag("-cp", True),
    "--hydra-help": Flag(),
    "--shell-completion": Flag("-sc"),
    "--experimental-rerun": Flag("", True),
}
_SHORT = {flag.short: name for name, flag in FLAGS.items() if flag.short}
_COMMANDS = ("--run", "--multirun", "--cfg", "--info", "--shell-completion")
_NO_RUN = ("--cfg", "--info", "--hydra-help")
_NOT_OURS = ("--shell-completion", "--experimental-rerun", "--config-path", "--config-name")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed, sorted."""

    flags: dict[str, str] = field(default_factory=dict)
    """Flags by their long name, with the value of those that take one."""
    overrides: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    """Flags that nobody knows, with the value typed after them."""

    @property
    def multirun(self) -> bool:
        """Whether `-m` was typed."""
        return "--multirun" in self.flags

    @property
    def asks(self) -> bool:
        """Whether something is to be told about phi_runner itself; nothing typed asks for it too."""
        typed = self.flags or self.overrides or self.unknown
        return not typed or "--help" in self.flags or "--version" in self.flags

    @property
    def completes(self) -> bool:
        """Whether a shell asks what may follow, or how it can."""
        return "--shell-completion" in self.flags

    @property
    def runs(self) -> bool:
        """Whether stages will run, rather than something be shown."""
        return not any(flag in self.flags for flag in _NO_RUN)

    @property
    def ours(self) -> bool:
        """Whether the overrides speak about our config: completion, reruns and other configs are Hydra's business."""
        return not any(flag in self.flags for flag in _NOT_OURS)

    @property
    def config_dir(self) -> Path | None:
        """A folder with presets of the user's own."""
        return Path(self.flags["--config-dir"]).absolute() if "--config-dir" in self.flags else None

    def arguments(self) -> list[str]:
        """Return the words again, flags first: Hydra refuses overrides after a flag that follows an override."""
        words = [word for name, value in self.flags.items() for word in ((name, value) if value else (name,))]
        return [*words, *self.overrides]


def read(arguments: Sequence[str]) -> CommandLine:
    """Sort the words of a command line; raises UsageProblem for a flag with a wrong value or a wrong companion."""
    line = CommandLine()
    words = deque(arguments)
    while words:
        word = words.popleft()
        if not word.startswith("-"):
            line.overrides.append(word)
            continue
        typed, equals, value = word.partition("=")
        name = _SHORT.get(typed, typed)
        if name not in FLAGS:
            line.unknown[typed] = value or (words.popleft() if words and _is_bare(words[0]) else "")
        elif FLAGS[name].value:
            line.flags[name] = _value(name, words, given=value if equals else None)
        else:
            line.flags[name] = ""
    _check_companions(line)
    return line


def _is_bare(word: str) -> bool:
    return "=" not in word and not word.startswith("-")


def _value(name: str, words: deque[str], *, given: str | None) -> str:
    """Return the value of a flag, taking it from the following words where it was not given with `=`."""
    flag = FLAGS[name]
    if given is None:
        if words and (words[0] in flag.choices if flag.default else not words[0].startswith("-")):
            given = words.popleft()
        else:
            given = flag.default
    if not given or (flag.choices and given not in flag.choices):
        near = [f"{name} {choice}" for choice in typo.nearest(given, flag.choices) or flag.choices[:1]]
        wants = f" is one of {', '.join(flag.choices)}" if flag.choices else " is missing"
        raise UsageProblem(f"the value of {name}{wants}{typo.did_you_mean(near)}")
    return given


def _check_companions(line: CommandLine) -> None:
    commands = [name for name in _COMMANDS if name in line.flags]
    if len(commands) > 1:
        raise UsageProblem(f"{' and '.join(commands)} cannot be combined: type one of them")
    if "--resolve" in line.flags and "--cfg" not in line.flags:
        raise UsageProblem("--resolve goes with --cfg: type --cfg job --resolve")
