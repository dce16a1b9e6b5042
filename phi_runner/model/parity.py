"""Whether two models say the same: how far their logits differ, and whether their likeliest answers are one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.errors import MergeFailed
from phi_runner.model import load

Dialogue = Sequence[Mapping[str, str]]

QUESTIONS: tuple[Dialogue, ...] = (
    ({"role": "user", "content": "Who founded Microsoft?"},),
    ({"role": "user", "content": "Write one sentence about the sea."},),
    ({"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "What is 12 times 12?"}),
    (
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "And another one?"},
    ),
)
"""Asked of every model; what matters is that both are asked the same."""
_NEW_TOKENS = 24

_TOLERANCE = {"torch.float32": 1e-4, "torch.bfloat16": 3e-2, "torch.float16": 4e-3}
"""Share of the largest logit that rounding may cost. A merged weight is rounded once and its product summed in another
order: one rounding is 2^-24, 2^-9 or 2^-12, and the sums of some tens of layers lose up to ten, four and four bits."""
_LEAST = 0.1
"""Share of the tolerance that is always allowed: rounding does not shrink with what an adapter changes."""
_OF_EFFECT = 0.02
"""Share of what the adapter changes: one layer of Phi-3 mini's 32 left out would already be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How near one model is to another."""

    max_logit_difference: float | None
    """None: only answers were compared."""
    limit: float
    """The largest difference of logits that rounding explains."""
    greedy_match: float
    """Share of the questions answered with the very same tokens."""
    questions: int

    def __str__(self) -> str:
        same = round(self.greedy_match * self.questions)
        answers = f"{same} of {self.questions} greedy answers are the same"
        if self.max_logit_difference is None:
            return answers
        return f"logits differ by {self.max_logit_difference:.1e} at most (limit {self.limit:.1e}), {answers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What a model said, kept when the model itself is gone."""

    questions: tuple[Dialogue, ...]
    stops: tuple[int, ...]
    """Tokens that end an answer."""
    prompts: tuple[Any, ...]
    """Token ids, one row each."""
    said: tuple[Any, ...]
    """Prompt and greedy answer in tokens."""
    answers: tuple[str, ...]
    logits: tuple[Any, ...]
    """Of every position of `said`, fp32."""
    limit: float

    def compare(self, other: Any, *, said: str) -> Parity:
        """Return how near another model is; raises MergeFailed when rounding does not explain the difference."""
        found = [_logits(other, ids) for ids in self.said]
        differences = [
            float((mine - theirs).abs().max()) if mine.shape == theirs.shape else float("inf")
            for mine, theirs in zip(self.logits, found, strict=True)
        ]
        same = [
            answer.shape == said.shape and bool((answer == said).all())
            for answer, said in zip(
                (_greedy(other, prompt, stops=self.stops) for prompt in self.prompts), self.said, strict=True
            )
        ]
        largest = max(differences)
        parity = Parity(
            max_logit_difference=largest, limit=self.limit, greedy_match=sum(same) / len(same), questions=len(same)
        )
        near = largest <= self.limit  # not so for what is not a number
        if not near or not all(ok or self.has_tie(row) for row, ok in enumerate(same)):
            raise MergeFailed(
                f"{said} changed what the model says: {parity}; a layer was lost, or the base is another one: "
                "train again with force=[train]"
            )
        return parity

    def has_tie(self, row: int) -> bool:
        """Say whether two tokens of an answer were so near that rounding may choose between them."""
        begin = self.prompts[row].shape[1] - 1
        best = self.logits[row][begin:-1].topk(2, dim=-1).values
        return bool(((best[:, 0] - best[:, 1]) <= 2 * self.limit).any())


def witness(model: Any, tokenizer: Any, *, questions: tuple[Dialogue, ...] = QUESTIONS) -> Witness:
    """Ask a model; with an adapter on it, what the adapter changes narrows the limit."""
    import torch

    prompts = tuple(_prompt(tokenizer, question, device=model.device) for question in questions)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    stops = tuple(load.stop_ids(core, tokenizer))
    said = tuple(_greedy(model, prompt, stops=stops) for prompt in prompts)
    logits = tuple(_logits(model, ids) for ids in said)
    largest = max(float(values.abs().max()) for values in logits)
    tolerance = _TOLERANCE.get(str(next(model.parameters()).dtype), _TOLERANCE["torch.float32"]) * largest
    limit = tolerance
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter(), torch.inference_mode():
            changed = max(float((_logits(model, ids) - own).abs().max()) for ids, own in zip(said, logits, strict=True))
        limit = min(tolerance, max(_LEAST * tolerance, _OF_EFFECT * changed))
    answers = tuple(
        tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True)
        for ids, prompt in zip(said, prompts, strict=True)
    )
    return Witness(
        questions=questions, stops=stops, prompts=prompts, said=said, answers=answers, logits=logits, limit=limit
    )


def served(folder: Path, before: Witness) -> Parity:
    """Ask the engine that serves a folder the same questions; raises MergeFailed when it answers otherwise."""
    from phi_runner.model.engines.batched import TransformersEngine

    engine = TransformersEngine(folder)
    try:
        return spoken(engine, before)
    finally:
        engine.close()


def spoken(engine: Any, before: Witness) -> Parity:
    """Compare an engine's greedy answers, prompt and text, with what was said before; it gives no logits."""
    from phi_runner.model.answering import Sampling, ask

    same = []
    for row, (question, prompt) in enumerate(zip(before.questions, before.prompts, strict=True)):
        ids = engine.tokenise(question, max_new_tokens=_NEW_TOKENS)
        text, _finished = ask(engine, question, sampling=Sampling(max_new_tokens=_NEW_TOKENS))
        same.append(ids == prompt[0].tolist() and text == before.answers[row])
    parity = Parity(
        max_logit_difference=None, limit=before.limit, greedy_match=sum(same) / len(same), questions=len(same)
    )
    if not all(ok or before.has_tie(row) for row, ok in enumerate(same)):
        raise MergeFailed(
            f"the served model answers otherwise than the one that was merged: {parity.greedy_match:.0%} of the greedy "
            "answers are the same; the chat template or the stop tokens differ: register again with force=[register]"
        )
    return parity


def _prompt(tokenizer: Any, question: Dialogue, *, device: Any) -> Any:
    text = tokenizer.apply_chat_template([dict(turn) for turn in question], tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(device)


def _greedy(model: Any, prompt: Any, *, stops: Sequence[int]) -> Any:
    import torch
    from transformers import GenerationConfig

    plain = GenerationConfig(
        do_sample=False, max_new_tokens=_NEW_TOKENS, eos_token_id=list(stops), pad_token_id=stops[0]
    )  # one row: nothing is padded
    with torch.inference_mode():
        return model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=plain)


def _logits(model: Any, ids: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].float().cpu()
