"""Pages with one endpoint and with two, a headless Chromium, and a way to sit down in front of it."""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.chat.page import rig
from tests.chat.page.rig import Rig
from tests.chat.page.seat import DESKTOP, Seat
from tests.flow.standin import KEY

if TYPE_CHECKING:
    from playwright.sync_api import Browser

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig.page(tmp_path_factory.mktemp("alone")) as running:
        yield running


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig.page(tmp_path_factory.mktemp("compared"), models=("phi/1", "phi-base/1")) as running:
        yield running


@pytest.fixture
def sit(browser: "Browser") -> Iterator[Callable[..., Seat]]:
    """Return a way to sit down; whoever sat must not have been shown the key, other hosts, or errors."""
    seats: list[Seat] = []

    def down(at: Rig, *, size: dict[str, int] = DESKTOP, **options: Any) -> Seat:
        at.calm()
        context = browser.new_context(viewport=size, **options)
        seats.append(Seat(context.new_page(), at=at))
        return seats[-1]

    yield down
    for seat in seats:
        assert seat.hosts == {seat.rig.url.removeprefix("http://")}
        assert seat.texts
        assert not any(KEY in text for text in [*seat.texts, seat.page.content()])
        assert seat.faults == []
        seat.page.context.close()
