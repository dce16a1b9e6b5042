"""Results put into a store without their stages being run: as small as a result can be, under the key it would have."""

from pathlib import Path
from typing import Any

from phi_runner import artifacts, keys
from phi_runner.artifacts import Artifact, Dataset, TrainedModel
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.stages import STAGES
from phi_runner.stages.stage import Inputs
from phi_runner.store import Store, key_of

_FIELDS: dict[StageName, tuple[type[Artifact], dict[str, Any]]] = {
    StageName.data: (
        Dataset,
        {"train_rows": 20, "test_rows": 4, "dropped_rows": 0, "source": "made", "format": "messages",
         "content_hash": "c"},
    ),
    StageName.train: (
        TrainedModel,
        {"base": "base", "revision": "", "trust_remote_code": False, "adapter": False, "max_length": 128,
         "parameters": 1, "steps": 3, "loss_first": 2.0, "loss_last": 1.0, "template_hash": "t", "data_hash": "c",
         "tracking_run": "r"},
    ),
}  # fmt: skip


def leave(config: RunConfig, *names: StageName, known: dict[StageName, str] | None = None) -> dict[StageName, str]:
    """Publish a result for each stage, each made from those before it, and return their keys."""
    store, found = Store(Path(config.outputs).resolve() / "store"), dict(known or {})
    for name in names:
        stage = next(stage for stage in STAGES if stage.name is name)
        kind, fields = _FIELDS[name]
        parts = keys.parts(stage, config, Inputs({}, found))
        key = key_of(parts)
        artifacts.save(kind(folder=store.work_folder(name, key), **fields))
        above = {str(read): found[read] for read in stage.reads(config)}
        store.publish(name, key, parts=parts, inputs=above, seconds=1.0)
        found[name] = key
    return found
