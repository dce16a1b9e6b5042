"""The score script that people write for Azure's inference server: load once, `generate` for each request."""

import json
import os
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model: Any = None
tokenizer: Any = None


def init() -> None:
    """Load the model that the deployment names."""
    global model, tokenizer
    folder = os.environ["AZUREML_MODEL_DIR"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def run(raw_data: str) -> dict[str, str]:
    """Answer the dialogue in `input_data.input_string`."""
    asked = json.loads(raw_data)["input_data"]
    given = tokenizer.apply_chat_template(
        asked["input_string"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        tokens = model.generate(**given, **asked["parameters"], do_sample=False)
    return {"output": tokenizer.decode(tokens[0, given["input_ids"].shape[1] :], skip_special_tokens=True)}
