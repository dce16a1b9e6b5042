"""The dated price table of the machine sizes, `conf/azure/prices`: the newest file counts; no option of a group."""

from dataclasses import dataclass
from functools import cache

import yaml

from phi_runner.config import places
from phi_runner.errors import ConfigProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """List prices in USD per hour, as they were on a date."""

    as_of: str
    """Year and month."""
    region: str
    container_registry: float
    """Of the cheapest tier."""
    usd_per_hour: dict[str, float]
    """By the name of the size."""

    def of(self, size: str) -> float | None:
        """Return the price of a size, whatever the case of its name; None when the table lacks it."""
        return next((usd for name, usd in self.usd_per_hour.items() if name.lower() == size.lower()), None)


@cache
def table() -> Prices:
    """Read the newest table; raises ConfigProblem when there is none that can be read."""
    folder = places.folder("conf") / "azure" / "prices"
    file = max(folder.glob("*.yaml"), default=None)
    try:
        if file is None:
            raise OSError("there is no table")
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        return Prices(
            as_of=str(values["as_of"]), region=str(values["region"]),
            container_registry=float(values["container_registry"]),
            usd_per_hour={str(name): float(usd) for name, usd in values["usd_per_hour"].items()},
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as err:
        told = f"{file or folder} cannot be read as a price table: {err}"
        raise ConfigProblem(f"{told}; install the package again") from err
