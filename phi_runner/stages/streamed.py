"""Training on a data set that stays at its source: data reads and shuffles, model tokenises, packs and trains."""

from typing import TYPE_CHECKING, Any, cast

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import RunConfig
from phi_runner.errors import TrainFailed
from phi_runner.stages.stage import RunDir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from phi_runner.model.training.fit import Training


def learnt(config: RunConfig, dataset: Dataset, tokenizer: Any, rundir: RunDir) -> "Callable[..., Training]":
    """Return the supervised training over a source's dialogues, read as they are needed; nothing of them is written.

    Raises DataProblem when the source is gone, or is not the one that rows were held out of.
    """
    from phi_runner.data import streaming
    from phi_runner.model import tokens
    from phi_runner.model.training import fit, resume

    train, say = config.train, rundir.events.info
    reading = streaming.reopen(dataset, seed=config.seed, events=rundir.events)
    held_out = tokens.tokenise_file(
        tokenizer, dataset.test_file, max_length=train.max_length, assistant_only=train.assistant_only_loss,
        cache=rundir.outputs / "cache" / "tokens",
    )  # fmt: skip
    if not len(held_out.lengths):
        raise TrainFailed(f"no held-out dialogue fits into train.max_length={train.max_length}: type a larger one")
    say(
        f"reads {reading.source.name} while training and writes none of it: draws from {streaming.SHUFFLED_ROWS} "
        "dialogues at a time; after an interruption it reads over those that it has learnt from"
    )
    dialogues = cast("Callable[[], Iterable[tokens.Dialogue]]", reading)
    rows = tokens.Stream(
        tokenizer=tokenizer, dialogues=dialogues, max_length=train.max_length,
        assistant_only=train.assistant_only_loss, seed=config.seed,
    )  # fmt: skip
    settings = resume.settings(config, data_hash=dataset.content_hash, rows=0)

    def training(model: Any, core: Any, **named: Any) -> "Training":
        done = fit.fit(
            model, core, train_rows=rows, eval_rows=held_out, config=train, settings=settings, **named
        )  # fmt: skip
        reading.tell("training is done")
        return done

    return training
