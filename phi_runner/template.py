"""The chat template as files see it: one hash, carried from training to every server that uses the model."""

import hashlib
import json
from pathlib import Path

from phi_runner.errors import StoreProblem


def template_hash(model_folder: Path) -> str:
    """Return the sha256 of the chat template in a Hugging Face folder; raises StoreProblem when it has none."""
    file = model_folder / "chat_template.jinja"
    if file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    settings = model_folder / "tokenizer_config.json"
    template = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") if settings.is_file() else None
    if not isinstance(template, str):
        raise StoreProblem(f"{model_folder} has no chat template: add chat_template.jinja beside the tokenizer")
    return hashlib.sha256(template.encode()).hexdigest()
