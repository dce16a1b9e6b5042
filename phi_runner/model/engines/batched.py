"""The transformers engine: a Hugging Face folder in torch, many answers at a time in one batch, token by token."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from phi_runner.errors import DeployFailed
from phi_runner.model.engines.batch import Batch
from phi_runner.model.engines.decoder import Decoder, scores_of
from phi_runner.model.engines.engine import SHARE_OF_MEMORY, BatchEngine, Death, free_memory
from phi_runner.model.engines.prompts import Prompts
from phi_runner.model.engines.speech import PAUSE_S

SLOTS = 16
"""Answers at a time: on two cores the products of 16 rows cost 2.5 times those of one."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Share of the largest score that another order of the same sums may cost (see `model.parity`)."""
_UNKNOWN = ("repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens")
"""What a generation config may ask for that would change greedy answers, and is not done here."""
_PROBE = 12


class TransformersEngine(BatchEngine):
    """A model in memory; its greedy answers are those of transformers' `generate`."""

    def __init__(
        self, folder: Path, *, device: str = "cpu", slots: int = SLOTS, pause_s: float = PAUSE_S,
        on_death: Death | None = None,
    ) -> None:  # fmt: skip
        """Load a Hugging Face folder; raises DeployFailed for one that cannot be served rightly."""
        transformers_logging.disable_progress_bar()
        if device == "cpu" and hasattr(os, "sched_getaffinity"):  # Linux
            torch.set_num_threads(min(torch.get_num_threads(), len(os.sched_getaffinity(0))))
        precision = torch.float32 if device == "cpu" else "auto"
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=precision, local_files_only=True)
        model = model.to(device).eval()
        _refuse_unknown(model.generation_config, folder=folder)
        ends = model.generation_config.eos_token_id
        decoder = _proved(model, folder=folder)
        prompts = Prompts(folder, context=decoder.context)
        batch = Batch(
            decoder, memory=decoder.memory(budget=_budget(decoder.device)), tokenizer=prompts.tokenizer,
            ends=ends if isinstance(ends, list) else [ends], slots=slots, pause_s=pause_s,
        )  # fmt: skip
        super().__init__(batch, prompts=prompts, slots=slots, on_death=on_death)


def _refuse_unknown(generation: Any, *, folder: Path) -> None:
    asked = [name for name in _UNKNOWN if getattr(generation, name, None) not in (None, 0, 1.0, [])]
    if asked:
        raise DeployFailed(
            f"{folder / 'generation_config.json'} asks for {', '.join(asked)}, which this engine does not do: remove it"
        )


def _proved(model: Any, *, folder: Path) -> Decoder:
    """Return the model as a decoder that gives transformers' own scores; raises DeployFailed when it does not."""
    probe = [7 * place % min(model.config.vocab_size, 1000) for place in range(1, _PROBE)]
    with torch.inference_mode():
        expected = model(torch.tensor([probe], device=model.device), use_cache=False).logits[0, -3:]
    try:
        decoder = Decoder(model)
    except (AttributeError, ValueError) as err:
        raise DeployFailed(
            f"{folder} is no Phi-3 architecture that deploy.engine=transformers knows ({err}): "
            f"model_type={model.config.model_type}"
        ) from err
    difference = float((scores_of(decoder, probe) - expected).abs().max())
    limit = _TOLERANCE.get(expected.dtype, 3e-2) * max(float(expected.abs().max()), 1.0)
    if not difference <= limit:
        raise DeployFailed(
            f"the engine's scores for {folder} differ from transformers' by {difference:.1e} (limit {limit:.1e}): "
            "install the transformers version of constraints.txt"
        )
    return decoder


def _budget(device: torch.device) -> int:
    """Return how many bytes keys and values may take."""
    return int(torch.cuda.mem_get_info(device)[0] * SHARE_OF_MEMORY) if device.type == "cuda" else free_memory()
