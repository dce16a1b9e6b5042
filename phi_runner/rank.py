"""Which process of a training of several this is, from the variables that torchrun and Azure set for each."""

import os
from dataclasses import dataclass

from phi_runner.config import cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """The place of this process among those that share a training; alone unless the variables say otherwise."""

    world: int = 1
    number: int = 0
    local: int = 0
    """Its number on its own node: the device that it takes."""
    local_world: int = 1
    """How many of them share its node's cores."""

    @classmethod
    def here(cls, *, processes_per_node: int = 0) -> "Rank":
        """Return this process's place; `processes_per_node` is for Azure, which does not tell the node's own number."""
        world = _number("WORLD_SIZE", 1)
        local_world = _number("LOCAL_WORLD_SIZE", processes_per_node or 1)
        return cls(
            world=world, number=_number("RANK", 0), local=_number("LOCAL_RANK", 0),
            local_world=local_world if world > 1 else 1,
        )  # fmt: skip

    @property
    def first(self) -> bool:
        """Say whether this process tells, records and writes the result."""
        return self.number == 0

    @property
    def alone(self) -> bool:
        """Say whether there is no other process."""
        return self.world == 1

    def cores(self) -> int:
        """Return this process's share of the cores that it may use."""
        return max(1, cores.here() // self.local_world)


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable) or default)
