"""Sum up the scores of all rows as metrics of the run."""

from promptflow.core import log_metric, tool


@tool
def summarise(scores: list[dict[str, float]]) -> dict[str, float]:
    """Log and return the means."""
    means = {name: sum(score[name] for score in scores) / len(scores) for name in ("exact_match", "token_f1")}
    for name, value in means.items():
        log_metric(name, value)
    return means
