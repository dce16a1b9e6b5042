"""The gateway's numbers in Prometheus' text form, and the engines' own with the deployment as a label."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp

from phi_runner.serve.gateway.engine import Engine
from phi_runner.serve.gateway.fleet import Fleet

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SCRAPE_S = 5.0


@dataclass(slots=True)
class Counts:
    """What the gateway has done since it was started."""

    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By deployment and status."""
    refused: Counter[str] = field(default_factory=Counter)
    """By kind, of requests that no engine answered."""
    retried: int = 0


async def exposition(
    fleet: Fleet, counts: Counts, *, session: aiohttp.ClientSession, headers: Mapping[str, str]
) -> str:
    """Return everything; `headers` open the engines' own numbers."""
    engines = [item for item in fleet.engines.values() if item.ready]
    texts = await asyncio.gather(*(_scraped(session, item, headers) for item in engines))
    families: dict[str, list[str]] = {}
    for engine, text in zip(engines, texts, strict=True):
        for family, line in _labelled(text, deployment=engine.name):
            lines = families.setdefault(family, [])
            if not (line.startswith("#") and line in lines):
                lines.append(line)
    return "\n".join([*_own(fleet, counts), *(line for lines in families.values() for line in lines)]) + "\n"


def _own(fleet: Fleet, counts: Counts) -> Iterator[str]:
    engines = fleet.engines
    yield from _family("phi_gateway_requests_total", "counter", "Requests that an engine answered.", {
        f'deployment="{name}",code="{status}"': count for (name, status), count in sorted(counts.answered.items())
    })  # fmt: skip
    yield from _family("phi_gateway_refused_total", "counter", "Requests that no engine answered.", {
        f'kind="{kind}"': count for kind, count in sorted(counts.refused.items())
    })  # fmt: skip
    retried = {"": counts.retried}
    yield from _family("phi_gateway_retries_total", "counter", "Requests sent again after an engine died.", retried)
    about = "Times that a deployment's process died and was started again."
    restarts = {f'deployment="{name}"': item.restarts for name, item in engines.items()}
    yield from _family("phi_gateway_restarts_total", "counter", about, restarts)
    ready = {f'deployment="{name}"': int(item.ready) for name, item in engines.items()}
    yield from _family("phi_gateway_ready", "gauge", "1: the deployment can be asked.", ready)
    open_requests = {f'deployment="{name}"': item.open for name, item in engines.items()}
    yield from _family("phi_gateway_open_requests", "gauge", "Requests being answered.", open_requests)
    shares = {f'deployment="{name}"': fleet.plan.traffic.get(name, 0) for name in engines}
    yield from _family("phi_gateway_traffic_percent", "gauge", "Share of the traffic.", shares)


def _family(name: str, kind: str, about: str, samples: Mapping[str, int]) -> Iterator[str]:
    if samples:
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} {kind}"
    for labels, value in samples.items():
        yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"


async def _scraped(session: aiohttp.ClientSession, engine: Engine, headers: Mapping[str, str]) -> str:
    """Return an engine's numbers, none while it does not give them."""
    kept = {name: value for name, value in headers.items() if name.lower() in {"authorization", "api-key"}}
    try:
        timeout = aiohttp.ClientTimeout(total=_SCRAPE_S)
        async with session.get(f"{engine.url}/metrics", headers=kept, timeout=timeout) as answer:
            return await answer.text() if answer.status == 200 else ""
    except (aiohttp.ClientError, TimeoutError):
        return ""


def _labelled(text: str, *, deployment: str) -> Iterator[tuple[str, str]]:
    """Yield the lines with a label more, each with its family: lines of one family must stand together."""
    family = ""
    for line in filter(None, text.splitlines()):
        if line.startswith("#"):
            family = line.split(" ", 3)[2] if line.count(" ") > 1 else family
            yield family, line
            continue
        name, brace, rest = line.partition("{")
        if brace:
            yield family, f'{name}{{deployment="{deployment}",{rest}'.replace(",}", "}", 1)
        else:
            name, _, value = line.partition(" ")
            yield family, f'{name}{{deployment="{deployment}"}} {value}'
