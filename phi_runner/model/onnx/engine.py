"""The onnx engine: an exported folder answers through onnxruntime, without torch in the process."""

from pathlib import Path

from phi_runner.model.engines.batch import Batch
from phi_runner.model.engines.engine import BatchEngine, Death, free_memory
from phi_runner.model.engines.speech import PAUSE_S
from phi_runner.model.onnx.decoder import Decoder
from phi_runner.model.onnx.prompts import Prompts

SLOTS = 16
"""Answers at a time; in fp32, 16 rows take about three times as long as one (measured on two cores)."""


class OnnxEngine(BatchEngine):
    """A model in memory; in fp32 its greedy answers are those of transformers' `generate`."""

    def __init__(
        self, folder: Path, *, slots: int = SLOTS, pause_s: float = PAUSE_S, threads: int | None = None,
        on_death: Death | None = None,
    ) -> None:  # fmt: skip
        """Load what `export.ensure` made; raises DeployFailed for a broken folder."""
        decoder = Decoder(folder, threads=threads)
        prompts = Prompts(folder, context=decoder.facts.context)
        batch = Batch(
            decoder, memory=decoder.memory(budget=free_memory()), tokenizer=prompts.tokenizer,
            ends=decoder.facts.stops, slots=slots, pause_s=pause_s,
        )  # fmt: skip
        super().__init__(batch, prompts=prompts, slots=slots, on_death=on_death)
