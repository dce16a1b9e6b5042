"""A model as MLflow lays it out, made without MLflow, whose import takes ten seconds."""

import shutil
from pathlib import Path


def mlflow_folder(plain: Path, *, folder: Path) -> Path:
    """Copy a plain Hugging Face folder into the parts that `mlflow.transformers.save_model` makes; return `folder`."""
    for name, tokenizer in (("model", False), ("components/tokenizer", True)):
        (folder / name).mkdir(parents=True)
        for file in plain.iterdir():
            if file.name.startswith(("token", "chat_template")) is tokenizer:
                shutil.copy(file, folder / name)
    (folder / "MLmodel").write_text("flavors: {transformers: {}}\n", encoding="utf-8")
    (folder / "requirements.txt").write_text(
        "torch\nazureml-ai-monitoring\nazureml-inference-server-http\n", encoding="utf-8"
    )
    return folder
