"""How large a number may be, by key; the keys of options that a run has not chosen are passed over."""

from collections.abc import Iterator
from typing import NamedTuple

from phi_runner.config.schema import RunConfig


class Range(NamedTuple):
    """Lower and upper bound; `open_low` and `open_high` leave the bound itself out."""

    low: float
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False
    such_as: str = ""
    """A good value, where the lower bound is none."""

    def holds(self, value: float) -> bool:
        """Say whether a value lies inside; NaN never does."""
        above = self.low < value if self.open_low else self.low <= value
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        """Say in words what is allowed."""
        low = f"more than {self.low:.10g}" if self.open_low else f"at least {self.low:.10g}"
        if self.high == float("inf"):
            return low
        return f"{low} and " + (f"less than {self.high:.10g}" if self.open_high else f"at most {self.high:.10g}")


_COUNT = Range(1)
_MAYBE = Range(0)
_RATE = Range(0, 1, open_low=True, open_high=True, such_as="1e-3")
_PART = Range(0, 1, open_low=True, open_high=True, such_as="0.2")
_SHARE = Range(0, 1, open_high=True, such_as="0.1")
_PORT = Range(0, 65535)
_SECONDS = Range(0, 7 * 24 * 3600, open_low=True, such_as="180")

RANGES: dict[str, Range] = {
    "seed": Range(0, 2**32 - 1),
    "data.eval_fraction": _PART,
    "data.stream_eval_rows": _COUNT,
    "model.context": Range(16),
    "model.hidden_size": _COUNT,
    "model.intermediate_size": _COUNT,
    "model.layers": _COUNT,
    "model.heads": _COUNT,
    "model.vocab_size": Range(300),  # 256 bytes and the template's own tokens
    "train.learning_rate": _RATE,
    "train.epochs": _COUNT,
    "train.batch_size": _COUNT,
    "train.eval_batch_size": _COUNT,
    "train.accumulation_steps": _COUNT,
    "train.warmup_ratio": _SHARE,
    "train.weight_decay": _SHARE,
    "train.adam_beta2": Range(0, 1, open_low=True, open_high=True, such_as="0.999"),
    "train.max_grad_norm": Range(0, open_low=True, such_as="1.0"),
    "train.max_length": Range(16),
    "train.log_steps": _COUNT,
    "train.micro_batch": _MAYBE,
    "train.memory_gib": _MAYBE,
    "train.save_steps": _COUNT,
    "train.rank": _COUNT,
    "train.alpha": _COUNT,
    "train.dropout": _SHARE,
    "train.beta": Range(0, open_low=True, such_as="0.1"),
    "sweep.prune_after_trials": _COUNT,
    "sweep.prune_after_percent": Range(0, 100),
    "compute.threads": Range(0, 1024),
    "compute.device": _MAYBE,
    "compute.processes": _MAYBE,
    "compute.restarts": Range(0, 100),
    "compute.nodes": _COUNT,
    "compute.processes_per_node": _COUNT,
    "compute.time_min": Range(5),
    "compute.cpus_per_process": _COUNT,
    "compute.memory_gib": _MAYBE,
    "compute.min_nodes": _MAYBE,
    "compute.max_nodes": _COUNT,
    "compute.idle_s": Range(60, 7 * 24 * 3600),
    "limits.max_memory_gb": Range(0, open_low=True, such_as="8"),
    "limits.max_hours": Range(0, open_low=True, such_as="2"),
    "limits.max_usd": Range(0, such_as="10"),
    "azure.max_usd_per_hour": Range(0, open_low=True, such_as="10"),
    "azure.nodes": _COUNT,
    "azure.processes_per_node": _COUNT,
    "azure.wait_s": _SECONDS,
    "azure.operation_s": Range(0, 3600),
    "evaluate.prompts": _MAYBE,
    "evaluate.max_new_tokens": _COUNT,
    "evaluate.batch_size": _COUNT,
    "evaluate.confidence": Range(0.5, 1, open_high=True, such_as="0.95"),
    "evaluate.resamples": Range(200, 1_000_000, such_as="2000"),
    "evaluate.task_rows": _MAYBE,
    "evaluate.judge.prompts": _COUNT,
    "evaluate.judge.timeout_s": _SECONDS,
    "preflight.rows": _COUNT,
    "preflight.token_rows": _COUNT,
    "preflight.examples": _MAYBE,
    "preflight.least_steps": _MAYBE,
    "deploy.port": _PORT,
    "deploy.max_concurrent": _COUNT,
    "deploy.max_queue": _MAYBE,
    "deploy.quality_prompts": _MAYBE,
    "deploy.quality_floor": Range(0, 1, such_as="0.75"),
    "deploy.request_timeout_s": _SECONDS,
    "deploy.max_queue_wait_s": Range(0, 7 * 24 * 3600),
    "deploy.max_body_bytes": Range(1024),
    "deploy.body_timeout_s": _SECONDS,
    "deploy.start_timeout_s": _SECONDS,
    "deploy.instances": _COUNT,
    "deploy.probe_initial_delay_s": _COUNT,
    "deploy.probe_period_s": _COUNT,
    "deploy.probe_failure_threshold": _COUNT,
    "deploy.probe_success_threshold": _COUNT,
    "deploy.step_s": _MAYBE,
    "deploy.bake_s": _MAYBE,
    "deploy.max_new_tokens": _COUNT,
    "flow.port": _PORT,
    "flow.batch_rows": _MAYBE,
    "chat.port": _PORT,
    "chat.max_new_tokens": _COUNT,
    "chat.temperature": Range(0, 2),
}
"""Every number that a user may set, but `model.recommended`, which reaches a run through `train`."""


def out_of_range(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each number that lies outside its range."""
    for key, allowed in RANGES.items():
        value: object = config
        for name in key.split("."):
            value = getattr(value, name, None)
        if isinstance(value, int | float) and not allowed.holds(value):
            yield f"{key}={value} is out of range, {allowed}: type {key}={allowed.such_as or format(allowed.low, 'g')}"
