"""What the data check looks for, and from which share on it warns or refuses."""

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Bound:
    """From which share on a finding is told, and from which it ends the run; empty: never. 0 is from the first one."""

    warn: float | None = None
    """A value at or above it is warned of."""
    refuse: float | None = None
    """A value at or above it ends the run."""


def _any() -> Bound:
    """Warn from the first one on."""
    return Bound(warn=0.0)


def _nonsense() -> Bound:
    """Warn from the first one on, and refuse what is hardly anything else."""
    return Bound(warn=0.0, refuse=0.95)


@dataclass(kw_only=True, slots=True)
class PreflightConfig:
    """The check of the rows before anything is trained on them; refuses by default only what teaches nothing."""

    enabled: bool = True
    """Look at the rows; false: train on whatever they are."""
    rows: int = 1_000_000
    """Rows that are looked at, from the top."""
    token_rows: int = 20_000
    """Rows whose tokens are counted; what is said of more rows than that is computed from these."""
    examples: int = 5
    """Rows that are shown for each finding, with what looks personal masked."""
    least_steps: int = 20
    """Optimiser steps of the whole training below which it is told that this is almost nothing."""

    malformed: Bound = field(default_factory=_nonsense)
    """Share of rows that do not have the shape of their format, and were left out."""
    role_order: Bound = field(default_factory=_nonsense)
    """Share of rows whose speakers do not take turns as they must, and were left out."""
    one_sided: Bound = field(default_factory=_nonsense)
    """Share of rows that are empty or that nobody answers, and were left out."""
    markers: Bound = field(default_factory=_nonsense)
    """Share of rows whose text holds a chat template's own markers or half characters, and were left out."""

    exact_duplicates: Bound = field(default_factory=lambda: Bound(warn=0.01))
    """Share of rows that were said before, word for word."""
    near_duplicates: Bound = field(default_factory=lambda: Bound(warn=0.02))
    """Share of rows that say what another row says, in almost the same words."""
    leakage: Bound = field(default_factory=_any)
    """Share of held-out rows that are also rows to learn from, word for word or almost."""
    shared_questions: Bound = field(default_factory=lambda: Bound(warn=0.02))
    """Share of held-out rows whose question is learnt too, with another answer."""
    conflicting_answers: Bound = field(default_factory=lambda: Bound(warn=0.01))
    """Share of rows whose question another row answers otherwise."""
    boilerplate: Bound = field(default_factory=lambda: Bound(warn=0.05, refuse=0.95))
    """Share of rows with an answer that many different questions get."""
    stock_openings: Bound = field(default_factory=lambda: Bound(warn=0.1))
    """Share of rows whose answer begins as that of many others, whatever was asked: refusals, flattery."""

    email: Bound = field(default_factory=_any)
    """Share of rows with an e-mail address."""
    phone: Bound = field(default_factory=_any)
    """Share of rows with a phone number."""
    key: Bound = field(default_factory=_any)
    """Share of rows with something that opens a door: an API key, a token, a password in an address."""
    card: Bound = field(default_factory=_any)
    """Share of rows with a payment card number."""
    iban: Bound = field(default_factory=_any)
    """Share of rows with a bank account number."""
    ip: Bound = field(default_factory=lambda: Bound(warn=0.01))
    """Share of rows with a public IP address."""

    echo: Bound = field(default_factory=_nonsense)
    """Share of rows whose answer is the question again."""
    loop: Bound = field(default_factory=_nonsense)
    """Share of rows with an answer that says the same again and again."""
    control: Bound = field(default_factory=_any)
    """Share of rows with control characters."""
    mojibake: Bound = field(default_factory=_any)
    """Share of rows with text that was decoded wrongly."""
    html: Bound = field(default_factory=lambda: Bound(warn=0.01))
    """Share of rows with remains of HTML outside code."""
    outlier: Bound = field(default_factory=_any)
    """Share of rows that are very much longer than the others."""
    system_prompts: Bound = field(default_factory=_any)
    """Share of rows without the system prompt that others have, or with one that is almost but not quite another."""

    truncated_tokens: Bound = field(default_factory=lambda: Bound(warn=0.01, refuse=0.95))
    """Share of the supervised tokens that `train.max_length` cuts off."""
    unsupervised: Bound = field(default_factory=lambda: Bound(warn=0.97))
    """Share of the tokens that are read but not learnt."""
