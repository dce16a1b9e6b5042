"""What `--help` and a bare `python -m phi_runner` print; reads the first comment of each file, loads no Hydra."""

import sys
from collections.abc import Callable, Iterable, Iterator

from phi_runner import __doc__ as about
from phi_runner import __version__
from phi_runner.config import places
from phi_runner.config.flags import CommandLine
from phi_runner.config.places import Preset
from phi_runner.config.schema import SCHEMAS

COMMAND = "python -m phi_runner"

USAGE = f"""\
Say what to run:
  {COMMAND} +recipe=full                                          data to a chat flow that answers, in minutes
  {COMMAND} +recipe=full data=jsonl data.train_file=rows.jsonl    the same with your own rows
  {COMMAND} --help                                                every recipe, group and stage
"""

_OVERRIDES = """\
Change one thing by typing it behind the recipe:
  data.take=1%                      a share of the rows, or a count: data.take=10
  model=phi3_5_mini                 another model; model=local model.path=FOLDER for one of your own
  train=lora train.rank=8           another method, and a setting of it
  compute=gpu                       a CUDA device instead of the processor; compute=azure_gpu one in Azure
  deploy=azure flow=foundry         the endpoint in Azure; with azure=rehearsal in an emulated one
  stages=[data,train]               only these stages; what they need is taken from earlier runs
  force=[train]                     do it again although the result is stored
  outputs=FOLDER                    where everything goes
  +train.extra.max_steps=100        any other argument of TRL's SFTConfig
  -m train.learning_rate=1e-3,2e-3  a sweep: one trial for each value
Look before you run:
  --cfg job --resolve               show every setting and its value
  --info defaults                   show where each value comes from
  --hydra-help                      Hydra's own flags
"""


Stages = Iterable[tuple[str, str]]
"""Name and purpose of every stage."""


def answer(line: CommandLine, *, stages: Callable[[], Stages]) -> int:
    """Print what the command line asks to be told and return the exit code; nothing typed is a usage error."""
    if "--help" in line.flags:
        text, code = help_text(stages=stages()), 0
    elif "--version" in line.flags:
        text, code = f"phi_runner {__version__}\n", 0
    else:
        text, code = USAGE, 2
    sys.stdout.write(text)
    return code


def help_text(*, stages: Stages) -> str:
    """Return the whole help: recipes, groups with their options, stages and examples, one line each."""
    lines = [f"phi_runner {__version__}: {about}", f"{COMMAND} +recipe=NAME [GROUP=OPTION ...] [KEY=VALUE ...]", ""]
    lines += ["Recipes (+recipe=NAME)", *_rows(_presets(places.presets("recipe"))), ""]
    lines.append("Groups (GROUP=OPTION)")
    for group in SCHEMAS:
        lines += [f"  {group}", *(f"  {row}" for row in _rows(_presets(places.presets(group))))]
    lines += ["", "Stages (stages=[NAME,...], always in this order)", *_rows(stages), "", _OVERRIDES]
    return "\n".join(lines)


def _presets(presets: dict[str, Preset]) -> Iterator[tuple[str, str]]:
    return ((preset.name, preset.about) for preset in presets.values())


def _rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return names and what they are about in two columns."""
    listed = list(pairs)
    width = max((len(name) for name, _about in listed), default=0)
    return [f"  {name:<{width}}  {text}" for name, text in listed]
