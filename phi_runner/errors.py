"""Every exception that phi_runner raises on purpose, and the exit code each one ends the process with.

PhiRunnerError             1   something the user can act on; its text is one line
├── UsageProblem           2   the command line cannot be read at all
├── ConfigProblem          1   a key, an option or a value is wrong; nothing has run
├── MissingInput           1   a stage needs a result that no selected or stored stage provides
├── DataProblem            1   the rows cannot be read or nothing usable is left
├── StoreProblem           1   the outputs folder cannot be written, or a result is damaged
├── TrainFailed            1   training cannot start or cannot go on
├── MergeFailed            1   an adapter does not fit its base, or merging it changed what the model says
├── EvaluateFailed         1   the models cannot be measured, or the judge does not answer
├── GateRefused            1   the before/after card does not let this model be registered
├── RemoteFailed           1   Azure refused or failed what was asked of it
├── RegisterFailed         1   the registry refused the model
├── DeployFailed           1   the endpoint did not come up or gave a wrong answer
├── FlowFailed             1   the flow could not be made, tested or served
├── SweepWouldDeploy       1   a sweep would start endpoints that nobody asked for
├── LimitExceeded          1   the plan needs more than `limits.*` allows; nothing has run
├── NotReproduced          1   a run that was repeated came out differently
└── Pruned                 0   a trial was given up because others are ahead of it: no failure
"""

from typing import ClassVar


class PhiRunnerError(Exception):
    """A failure that the user can act on: what is wrong, where, and what to type next, in one line."""

    exit_code: ClassVar[int] = 1


class UsageProblem(PhiRunnerError):
    """The command line cannot be read."""

    exit_code: ClassVar[int] = 2


class ConfigProblem(PhiRunnerError):
    """The composed configuration is wrong."""


class MissingInput(PhiRunnerError):
    """A stage has no result to read."""


class DataProblem(PhiRunnerError):
    """The rows are unusable."""


class StoreProblem(PhiRunnerError):
    """The store cannot be written or read."""


class TrainFailed(PhiRunnerError):
    """Training cannot start or go on."""


class MergeFailed(PhiRunnerError):
    """An adapter and its base cannot become one model that says the same."""


class EvaluateFailed(PhiRunnerError):
    """The models cannot be measured, or whoever was asked to judge them does not answer."""


class GateRefused(PhiRunnerError):
    """The before/after card does not let this model be registered."""


class RemoteFailed(PhiRunnerError):
    """Azure refused or failed what was asked of it."""


class RegisterFailed(PhiRunnerError):
    """The model registry refused the model."""


class DeployFailed(PhiRunnerError):
    """The endpoint did not come up, or answered wrongly."""


class FlowFailed(PhiRunnerError):
    """The flow could not be made, tested or served."""


class SweepWouldDeploy(PhiRunnerError):
    """A sweep would start endpoints; `sweep.may_deploy=true` allows it."""


class LimitExceeded(PhiRunnerError):
    """A run would take more than its user allows."""


class NotReproduced(PhiRunnerError):
    """An earlier run was repeated and came out differently, or not at all."""


class Pruned(PhiRunnerError):
    """A trial of a sweep was given up at a step that is saved; this is an end, not a failure."""

    exit_code: ClassVar[int] = 0


class Stopped(KeyboardInterrupt):
    """Somebody asked the run to stop, by Ctrl-C or by a signal; the same command goes on."""

    def __init__(self, number: int, told: str = "interrupted: type the same command to continue") -> None:
        super().__init__(told)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Return what shells report for a process that this signal ended."""
        return 128 + self.number
