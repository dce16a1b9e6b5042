"""What preference training needs: a model that was trained before, and rows that are pairs of answers."""

from collections.abc import Iterator

from phi_runner.config.schema import (
    DpoTrain,
    FileData,
    HubData,
    NanoModel,
    RowFormat,
    RunConfig,
    SampleData,
    StageName,
)
from phi_runner.errors import ConfigProblem

NEEDED = "rows with prompt, chosen and rejected"


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what stands in the way of train=dpo, as far as the config alone tells."""
    if not isinstance(config.train, DpoTrain) or StageName.train not in config.stages:
        return
    if isinstance(config.model, NanoModel) and not config.model.path:
        yield (
            "train=dpo is a second step, and model=phi3_nano starts from random weights: train it first (train=full), "
            "then type model=local model.path=FOLDER, which that run names"
        )
    if "lm_head" in config.train.targets and not config.train.all_weights:
        rest = ",".join(target for target in config.train.targets if target != "lm_head")
        yield f"train.targets: TRL's preference loss goes past an adapter on lm_head: type train.targets=[{rest}]"
    if isinstance(config.data, SampleData):
        yield (
            f"train=dpo learns from pairs of answers ({NEEDED}), and data=sample holds dialogues: "
            "type data=jsonl data.train_file=PATH"
        )
    if isinstance(config.data, FileData | HubData):
        spelled = config.data.format
        if spelled not in (RowFormat.auto, RowFormat.preference):
            yield f"train=dpo learns from pairs of answers ({NEEDED}), not data.format={spelled}: type data.format=auto"


def check_rows(config: RunConfig, *, spelled: str, source: str) -> None:
    """Raise ConfigProblem when the rows that were read are not what the training method learns from."""
    if isinstance(config.train, DpoTrain) and spelled != RowFormat.preference:
        raise ConfigProblem(
            f"train=dpo learns from pairs of answers ({NEEDED}), and {source} holds rows of format {spelled}: "
            "type data=jsonl data.train_file=PATH of such pairs, or train=full for these rows"
        )
