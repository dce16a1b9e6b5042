"""What can be wrong with an override by its spelling alone, before anything is composed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi_runner.config import suggest, typo
from phi_runner.config.typed import Sign, Typed, as_text
from phi_runner.config.vocabulary import RECIPE, Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """What the spelling of an override is held against."""

    words: Vocabulary
    chosen: Mapping[str, str]
    """The option of each group, as far as the command line tells without composing."""

    def problems(self, overrides: Sequence[Typed]) -> list[str]:
        """Return one sentence for each override that cannot be right."""
        told = [self._problem(item) for item in overrides]
        recipes = [item.text for item in overrides if item.key == RECIPE]
        if len(recipes) > 1:
            told.append(f"one recipe at a time, not {', '.join(recipes)}: type {recipes[-1]}")
        return [problem for problem in told if problem]

    def _problem(self, item: Typed) -> str:
        told = self._group(item) if item.key in self.words.groups else self._key(item)
        if told or item.values:
            return told
        options = ", ".join(self.words.groups.get(item.key, {}))
        return f"{item.text} stands for no value at all" + (f": choose from {options}" if options else "")

    def _group(self, item: Typed) -> str:
        if item.package:
            return f"{item.text}: no option goes into another place{typo.did_you_mean([f'{item.key}={item.raw}'])}"
        if item.sign is Sign.remove:
            if item.key == RECIPE:
                return f"{item.text}: no recipe is there to be removed: leave that out"
            without = f": type {item.key}=none" if "none" in self.words.groups[item.key] else ""
            return f"{item.text}: every run has its {item.key}{without}"
        for value in item.values:
            told = self._option(item.key, value)
            if told:
                return told
        wanted = Sign.add if item.key == RECIPE else Sign.set
        if item.sign is not wanted:
            said = "a recipe is added with one plus" if item.key == RECIPE else f"{item.key} has a value already"
            return f"{item.text}: {said}: type {wanted}{item.key}={item.raw}"
        return ""

    def _option(self, group: str, value: object) -> str:
        options = self.words.groups[group]
        if isinstance(value, str) and value in options:
            return ""
        if isinstance(value, dict):
            return f"{group} is chosen by name: type {group}=OPTION, and {group}.KEY=VALUE for what is in it"
        text = as_text(value)
        near = suggest.for_option(group, text, self.words)
        listed = ", ".join(options)
        return f"{group} has no option {text!r}{typo.did_you_mean(near)} (there are {listed})" if near else (
            f"{group} has no option {text!r}: choose from {listed}"
        )  # fmt: skip

    def _key(self, item: Typed) -> str:
        key = self.words.keys.get(item.key)
        if item.package:
            return f"{item.text}: {item.key} is not a group, so nothing of it can be put elsewhere"
        if key is None and self.words.open_parent(item.key):
            return ""
        if key is None:
            return self.unknown(item.key, item.raw if "=" in item.text else "VALUE", text=item.text)
        if item.sign is Sign.remove:
            return f"{item.text}: a setting cannot be removed, only set: type {item.key}=VALUE"
        if item.sign is Sign.add and not any(isinstance(value, list | dict) for value in item.values):
            return f"{item.text}: {item.key} exists already: type {item.key}={item.raw}"
        return ""

    def unknown(self, key: str, raw: str, *, text: str) -> str:
        """Say that no setting has this name, and which one was meant."""
        head, _, rest = key.partition(".")
        if rest and typo.likeness(head, "hydra") >= typo.ALIKE and head not in self.words.groups:
            return f"no setting is called {key!r}: did you mean hydra.{rest}={raw}?"
        near = suggest.for_key(key, raw, self.words, chosen=self.chosen)
        if near:
            return f"no setting is called {key!r}{typo.did_you_mean(near)}"
        below = [name for name in self.words.keys if name.startswith(f"{head}.") and name.count(".") == 1]
        if below:
            return f"no setting is called {key!r}: {head} has {', '.join(name.partition('.')[2] for name in below)}"
        return f"no setting is called {key!r} ({text}): `--help` lists the groups, `--cfg job` every setting"
