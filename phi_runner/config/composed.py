"""Compose what a command line asks for, trial by trial, with errors that name the override at fault."""

from collections.abc import Iterator, Sequence
from copy import copy, deepcopy
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from phi_runner.config import apply, hydra, suggest, typo
from phi_runner.config.typed import Sign, Typed
from phi_runner.config.vocabulary import Vocabulary
from phi_runner.errors import ConfigProblem

Picked = Sequence[tuple[Typed, object]]
"""Overrides with the value that one trial gives them."""


class Composer:
    """Composes configs, each combination of options once."""

    def __init__(self, words: Vocabulary, *, extra: Path | None, about_hydra: Sequence[Typed] = ()) -> None:
        self._words = words
        self._extra = extra
        self._about_hydra = [item.text for item in about_hydra]
        self._bases: dict[tuple[str, ...], DictConfig] = {}

    def base(self, picked: Picked) -> DictConfig:
        """Return the config of the chosen options alone, with Hydra's own node; raises ConfigProblem."""
        groups = [(item, value) for item, value in picked if item.key in self._words.groups]
        texts = tuple(suggest.choice(item.key, str(value)) for item, value in groups)
        if texts not in self._bases:
            self._bases[texts] = hydra.compose([*texts, *self._about_hydra], extra=self._extra)
        return self._bases[texts]

    def trial(self, picked: Picked) -> DictConfig:
        """Return the config of one trial; raises ConfigProblem naming every override that cannot be applied."""
        node = deepcopy(self.base(picked))
        settings = [(item, value) for item, value in picked if item.key not in self._words.groups]
        problems = [told for item, value in settings if (told := self._put(node, item, value))]
        if problems:
            raise ConfigProblem("; ".join(problems))
        return node

    def _put(self, node: DictConfig, item: Typed, value: object) -> str:
        key = self._words.keys.get(item.key)
        foreign = apply.foreign(key, item, node, self._words) if key else ""
        return foreign or apply.put(node, item, value, self._words)


def task(node: DictConfig) -> DictConfig:
    """Return a composed config without Hydra's own node."""
    ours = copy(node)  # OmegaConf's own, which copies every node and no value
    with open_dict(ours):
        del ours["hydra"]
    return ours


def hydra_problem(settings: DictConfig, item: Typed) -> str:
    """Say that Hydra has no setting of that name, or nothing; `settings` is Hydra's own node."""
    if "." not in item.key or item.package:
        return ""
    node: object = settings
    for name in item.key.split(".")[1:]:
        if not isinstance(node, DictConfig) or OmegaConf.get_type(node) is dict:
            return ""
        if name not in node:
            near = [path for path in typo.nearest(item.key, _paths(settings, "hydra")) if _same_word(item.key, path)]
            told = [f"{item.sign if item.sign is not Sign.add else ''}{key}={item.raw}" for key in near]
            return f"Hydra has no setting {item.key!r}{typo.did_you_mean(told)}"
        if OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name):
            return ""
        node = node[name]
    return ""


def _same_word(typed: str, path: str) -> bool:
    return typo.likeness(typed.rpartition(".")[2], path.rpartition(".")[2]) >= typo.ALIKE


def _paths(node: DictConfig, prefix: str) -> Iterator[str]:
    """Yield every setting of Hydra's that has a name of its own."""
    for name in map(str, node):
        path = f"{prefix}.{name}"
        yield path
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
            below = node[name]
            if isinstance(below, DictConfig) and OmegaConf.get_type(below) is not dict:
                yield from _paths(below, path)
