"""The gate before `register`: what the before/after card says, held against `evaluate.gate`."""

import re
import shutil

from phi_runner.artifacts import ANSWERS_FILE, Scorecard
from phi_runner.config.evaluation_check import unmeasured
from phi_runner.config.schema import Gate, RunConfig, StageName
from phi_runner.errors import GateRefused
from phi_runner.stages.stage import Inputs, RunDir

_NO_TAG = re.compile(r"[^A-Za-z0-9_.-]+")


def reads(config: RunConfig) -> tuple[StageName, ...]:
    """Name the results to read: the card where there can be one and the gate asks for it, or it is made in this run."""
    wanted = config.evaluate.gate is not Gate.never or StageName.evaluate in config.stages
    asked = wanted and not unmeasured(config)
    return (StageName.train, StageName.evaluate) if asked else (StageName.train,)


def measured(config: RunConfig, inputs: Inputs) -> Scorecard | None:
    """Return what the model was measured to be, as far as this registration depends on it."""
    card = inputs.artifacts.get(StageName.evaluate) if StageName.evaluate in reads(config) else None
    return card if isinstance(card, Scorecard) else None


def pass_gate(config: RunConfig, inputs: Inputs, *, rundir: RunDir) -> None:
    """Hold the before/after card against `evaluate.gate`; raises GateRefused."""
    from phi_runner.card import content
    from phi_runner.card.gate import hold

    wanted = config.evaluate.gate
    if wanted is Gate.never:
        return
    found = measured(config, inputs)
    if found is None:
        rundir.events.warn(f"nobody has measured the model ({unmeasured(config)}): evaluate.gate={wanted} is not asked")
        return
    card = content.read(found.folder)
    if card is None:
        raise GateRefused(
            f"{found.folder} holds no card that this version can read: type force=[evaluate], or evaluate.gate=never"
        )
    rundir.events.info(hold(card, gate=wanted, name=config.register.name))


def keep_card(config: RunConfig, inputs: Inputs, *, rundir: RunDir) -> None:
    """Take over card and answers of the evaluation: whatever serves this version is held against them."""
    from phi_runner.card import content

    if card := measured(config, inputs):
        for name in (ANSWERS_FILE, content.CARD_FILE):
            if (card.folder / name).is_file():
                shutil.copyfile(card.folder / name, rundir.folder / name)


def card_tags(config: RunConfig, inputs: Inputs) -> dict[str, str]:
    """Return what the registered version tells of its card; nothing where nobody could measure it."""
    card = measured(config, inputs)
    if card is None:
        return {}
    found = _figure_tags(card) | {
        "phi_runner.gate": str(config.evaluate.gate),
        "phi_runner.evaluate_key": inputs.keys[StageName.evaluate],
        "phi_runner.loss_before": f"{card.loss_before:.4f}",
        "phi_runner.loss_after": f"{card.loss_after:.4f}",
    }
    if card.preferred_before is not None and card.preferred_after is not None:
        found |= {
            "phi_runner.preferred_before": f"{card.preferred_before:.4f}",
            "phi_runner.preferred_after": f"{card.preferred_after:.4f}",
        }
    return found


def _figure_tags(card: Scorecard) -> dict[str, str]:
    """Return the card's figures with their intervals, one tag each, and its verdict."""
    from phi_runner.card import content, wording

    found = {"phi_runner.verdict": f"{card.words or card.verdict}"}
    full = content.read(card.folder)
    for figure in full.figures if full else ():
        told = f"{wording.number(figure, figure.before)} -> {wording.number(figure, figure.after)}"
        bounds = wording.bounds(figure, confidence=full.confidence) if full else ""
        found[f"phi_runner.card.{_NO_TAG.sub('_', figure.name)}"] = f"{told}, {bounds}: {figure.verdict}"
    return found
