"""A person in front of one browser tab, and what went over its network.

Screenshots go to the folder that PHI_RUNNER_SHOTS names, if one is named.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chat.page.rig import Rig

if TYPE_CHECKING:
    from playwright.sync_api import Page

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


class Seat:
    """A person in front of one tab, and what went over its network."""

    def __init__(self, page: "Page", *, at: Rig) -> None:
        self.page, self.rig = page, at
        self.hosts: set[str] = set()
        self.texts: list[str] = []
        self.faults: list[str] = []
        page.on("request", lambda request: self._called(request.url))
        page.on("websocket", lambda socket: socket.on("framereceived", lambda text: self.texts.append(str(text))))
        page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(at.url)
        self.field.wait_for()

    def _called(self, url: str) -> None:
        if not url.startswith("data:"):
            self.hosts.add(url.split("/")[2])

    @property
    def field(self) -> Any:
        return self.page.get_by_label("Message")

    def ask(self, question: str) -> None:
        self.field.fill(question)
        self.page.keyboard.press("Enter")

    def answers(self) -> list[str]:
        return [text.strip() for text in self.page.locator(".chat-text").all_inner_texts()]

    def ended(self) -> None:
        """Wait until nothing is being written."""
        self.page.get_by_role("button", name="Send").wait_for()
        self.page.locator(".chat-turn:last-child .chat-actions").last.wait_for()

    def says(self, words: str) -> None:
        self.page.get_by_text(words).first.wait_for()

    def shot(self, name: str) -> None:
        folder = os.environ.get("PHI_RUNNER_SHOTS")
        if folder:
            self.page.wait_for_timeout(400)  # animations come to rest
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    def fits(self) -> bool:
        """Say whether nothing is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
