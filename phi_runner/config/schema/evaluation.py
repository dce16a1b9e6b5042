"""How the model is measured before and after, and what may be registered."""

from dataclasses import dataclass, field
from enum import StrEnum, auto


class Gate(StrEnum):
    """What the before/after card must say before a model may be registered."""

    better = auto()
    """The whole interval of what decides lies on the better side (the held-out loss; for preference training the share
    of pairs whose chosen answer is the likelier one), and the answers depend on the questions."""
    not_worse = auto()
    """No figure of the card that counts got worse beyond its interval."""
    never = auto()
    """Nothing: every model is registered."""


@dataclass(kw_only=True, slots=True)
class JudgeConfig:
    """A language model behind an OpenAI-compatible endpoint that compares the answers before and after."""

    url: str = ""
    """Base address, `https://HOST/v1`; empty: nobody judges."""
    model: str = ""
    """The judge's name at that endpoint."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    prompts: int = 32
    """Held-out prompts that are judged, each twice: with either answer first."""
    temperature: float | None = 0.0
    """What is asked of the endpoint; null: nothing, for models that take none."""
    timeout_s: float = 60.0
    """How long one answer may take; what fails for a moment is asked again four times."""


@dataclass(kw_only=True, slots=True)
class EvaluateConfig:
    """How the model is measured before and after."""

    prompts: int = 64
    """Held-out prompts answered by both models; 0: loss only."""
    max_new_tokens: int = 64
    """Longest answer to a held-out prompt, in tokens."""
    batch_size: int = 32
    """Prompts that are answered, and rows that are measured, at once."""
    gate: Gate = Gate.better
    """What `register` asks of the card; a model that does not pass is not registered."""
    confidence: float = 0.95
    """Of the paired bootstrap intervals."""
    resamples: int = 2000
    """Bootstrap samples behind each interval; 1000 or more, or its ends are noise."""
    tasks: list[str] = field(default_factory=list)
    """Tasks of the LM Evaluation Harness by its names, measured before and after; an extra to install."""
    tasks_folder: str = ""
    """Folder with task files of your own, in the harness's form."""
    task_rows: int = 100
    """Rows of each task that are measured; 0: all."""
    probe: bool = True
    """Measure the loss on text outside the task too: what the training makes the model forget."""
    probe_file: str = ""
    """Text to probe with, JSONL in any form that data may have; empty: the one shipped."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Who compares the answers before and after."""


@dataclass(kw_only=True, slots=True)
class RegisterConfig:
    """The model's entry in the registry."""

    name: str = "finetune-phi-model"
    """Registered name (the tutorials')."""
    alias: str = "champion"
    """Alias that is moved to the new version."""
