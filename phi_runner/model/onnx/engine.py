"""The onnx engine: an exported folder answers through onnxruntime, without torch in the process."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from phi_runner.model.answering import Message, Piece, Prompt, Sampling
from phi_runner.model.engines.speech import PAUSE_S
from phi_runner.model.onnx.decoder import Decoder
from phi_runner.model.onnx.prompts import Prompts
from phi_runner.model.onnx.turns import Turns

SLOTS = 16
"""Answers at a time; in fp32, 16 rows take about three times as long as one (measured on two cores)."""


class OnnxEngine:
    """A model in memory; in fp32 its greedy answers are those of transformers' `generate`."""

    def __init__(
        self, folder: Path, *, slots: int = SLOTS, pause_s: float = PAUSE_S, threads: int | None = None,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:  # fmt: skip
        """Load what `export.ensure` made; raises DeployFailed for a broken folder."""
        decoder = Decoder(folder, threads=threads)
        self.slots = slots
        self.context = decoder.facts.context
        self._prompts = Prompts(folder, context=self.context)
        self._turns = Turns(decoder, tokenizer=self._prompts.tokenizer, slots=slots, pause_s=pause_s)
        self._on_death = on_death
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)
        self._thread.start()

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as control tokens."""
        return self._prompts.markers

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens by the folder's chat template; raises PromptTooLong or PromptRefused."""
        return self._prompts.tokenise(messages, max_new_tokens=max_new_tokens)

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Begin an answer; see the protocol."""
        return self._turns.submit(prompt, sampling=sampling, tell=tell)

    def close(self) -> None:
        """End every answer and the engine's thread."""
        self._turns.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._turns.run()
        except BaseException as err:
            if self._on_death is None:
                raise
            self._on_death(err)
