"""What a model's folder says that matters to a chat: room for a system prompt, and the longest dialogue."""

import json
import re
from pathlib import Path

_PROMPT = "a prompt that no template holds"
_UNKNOWN_CONTEXT = 4096
_MARKS = re.compile(r"{%-?\s*(end)?generation\s*-?%}")
"""transformers' own tags around what the assistant says; jinja does not know them."""


def takes_system(folder: Path) -> bool:
    """Say whether a system prompt comes through the chat template of a Hugging Face folder; True where it has none."""
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = _template(folder)
    if not template:
        return True
    messages = [{"role": "system", "content": _PROMPT}, {"role": "user", "content": "?"}]
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        text = environment.from_string(_MARKS.sub("", template)).render(
            messages=messages, add_generation_prompt=True, bos_token="", eos_token=""
        )
    except TemplateSyntaxError:
        return True
    except TemplateError:  # some templates refuse a system turn
        return False
    return _PROMPT in text


def context(folder: Path) -> int:
    """Return how many tokens prompt and answer may have together, a common length where the folder does not say."""
    found = _json(folder / "config.json").get("max_position_embeddings")
    return found if isinstance(found, int) else _UNKNOWN_CONTEXT


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    return found if isinstance(found, str) else ""


def _json(file: Path) -> dict[str, object]:
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return values if isinstance(values, dict) else {}
