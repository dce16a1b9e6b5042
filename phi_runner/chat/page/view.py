"""The page as a person meets it: a title, the conversation, a field to write in; built from a session."""

from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.events import GenericEventArguments

from phi_runner.chat.conversation import Turn
from phi_runner.chat.page import controls
from phi_runner.chat.page.answers import AnswerView, icon_button
from phi_runner.chat.page.look import STYLE
from phi_runner.chat.page.settings import Settings
from phi_runner.chat.session import Controls, Session

if TYPE_CHECKING:
    import httpx

TITLE = "Chat"
RECONNECT_S = 30.0
"""How long a page may be away, a phone asleep, before what it is being answered is given up."""
_PAINT_EVERY_S = 0.1
_COLOUR = "#2f78c4"
"""Stands out enough on white and on black."""
_MOST_SESSIONS = 200
_SAME_AGAIN = "At temperature 0 the model says the same again: raise it under Settings"
_SEND_ON_ENTER = """(event) => {
    if (event.shiftKey || event.isComposing) return;
    event.preventDefault();
    emit(event.target.value);
}"""
"""Shift+Enter makes a new line; while an input method composes a character, Enter is its own."""


class ChatView:
    """One browser tab's view of its session."""

    def __init__(self, session: Session, *, longest_answer: int) -> None:
        self._session = session
        self._answers: list[AnswerView] = []
        """Of the last turn: earlier ones no longer change."""
        self._dialog = controls.build(session, longest_answer=longest_answer)
        with ui.element("main").classes("chat" + (" compared" if len(session.sides) > 1 else "")):
            self._bar()
            self._log = ui.element("div").classes("chat-log").props('tabindex=0 role=log aria-label="Conversation"')
            with self._log:
                self._turns = ui.column().classes("chat-turns")
            self._foot()
        for turn in session.conversation.turns:
            self._show(turn)
        self._greet()
        self._timer = ui.timer(_PAINT_EVERY_S, self._paint, active=False)
        self._field.run_method("focus")

    def _bar(self) -> None:
        with ui.row().classes("chat-bar items-center"):
            ui.label(" | ".join(side.label for side in self._session.sides)).classes("chat-title").props(
                "role=heading aria-level=1"
            )
            icon_button("add_comment", label="New dialogue", on_click=self._begin_anew)
            icon_button("tune", label="Settings", on_click=self._dialog.open)

    def _foot(self) -> None:
        with ui.column().classes("chat-foot"):
            with ui.row().classes("chat-write"):
                self._field = ui.textarea(placeholder="Write a message").classes("col")
                self._field.props('outlined autogrow dense rows=1 aria-label="Message" maxlength=200000')
                self._field.on("keydown.enter", self._entered, js_handler=_SEND_ON_ENTER)
                self._field.on("keydown.esc", self._stop)
                self._button = ui.button(icon="send", on_click=self._press).props('round aria-label="Send"')
            with ui.row().classes("chat-write"):
                self._status = ui.label().classes("chat-hint col").props("role=status")
                ui.label("Enter sends · Shift+Enter new line · Esc stops").classes("chat-hint keys")

    def _greet(self) -> None:
        if not self._session.conversation.turns:
            with self._turns, ui.column().classes("chat-empty items-center"):
                ui.label(f"Ask {self._session.sides[0].label}").classes("text-xl")
                if len(self._session.sides) > 1:
                    ui.label(f"{self._session.sides[1].label} answers beside it")
                ui.label("Thumbs up and down become rows to train on.").classes("chat-made")

    def _show(self, turn: Turn) -> None:
        with self._turns, ui.column().classes("chat-turn"):
            with ui.row().classes("chat-question"):
                icon_button("edit", label="Take back and edit", on_click=self._take_back).classes("last-only")
                ui.label(turn.question).classes("chat-said")
            with ui.element("div").classes("chat-sides"):
                self._answers = [
                    AnswerView(tries, session=self._session, side=number, on_retry=self._retry)
                    for number, tries in enumerate(turn.sides)
                ]

    async def _press(self) -> None:
        if self._session.busy:
            await self._stop()
        else:
            self._send(self._field.value or "")

    def _entered(self, event: GenericEventArguments) -> None:
        self._send(str(event.args))

    def _send(self, text: str) -> None:
        question = text.encode("utf-8", "replace").decode("utf-8").strip()
        if self._session.busy or not question:
            return
        if not self._session.conversation.turns:
            self._turns.clear()
        self._field.set_value("")
        self._show(self._session.ask(question))
        self._follow()

    def _retry(self, side: int) -> None:
        if not self._session.busy:
            if self._session.controls.temperature == 0:
                ui.notify(_SAME_AGAIN, position="top")
            self._session.retry(side=side)
            self._follow()
            self._field.run_method("focus")

    async def _stop(self) -> None:
        await self._session.stop()
        self._paint()

    async def _take_back(self) -> None:
        self._field.set_value(await self._session.take_back())
        self._rebuild()

    async def _begin_anew(self) -> None:
        await self._session.begin_anew()
        self._rebuild()

    def _rebuild(self) -> None:
        self._turns.clear()
        self._answers = []
        for turn in self._session.conversation.turns:
            self._show(turn)
        self._greet()
        self._paint()
        self._field.run_method("focus")

    def _follow(self) -> None:
        """Begin to show an answer as it grows, its end in view."""
        ui.run_javascript(f"getHtmlElement({self._log.id}).scrollTop = 0")
        self._timer.activate()
        self._paint()

    def _paint(self) -> None:
        busy = self._session.busy
        for answer in self._answers:
            answer.paint()
        self._status.set_text("writing" if busy else "")
        self._button.set_icon("stop" if busy else "send")
        self._button.props(f'aria-label="{"Stop" if busy else "Send"}"')
        if not busy:
            self._timer.deactivate()


def build(settings: Settings, *, client: "httpx.AsyncClient") -> None:
    """Set up the page; a tab that is loaded again finds its conversation as it was."""
    sessions: dict[str, Session] = {}
    views: dict[str, str] = {}
    """Which of its clients a tab shows now: an earlier one must not stop what a later one asks."""

    def session_of(tab: str) -> Session:
        if tab not in sessions:
            begun = Controls(temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
            sessions[tab] = Session(
                sides=settings.sides, client=client, controls=begun, feedback_file=Path(settings.feedback_file)
            )
        while len(sessions) > _MOST_SESSIONS:
            del sessions[next(iter(sessions))]
        return sessions[tab]

    @ui.page("/", title=TITLE)
    async def index() -> None:
        seen = ui.context.client
        await seen.connected()
        if not seen.has_socket_connection:  # no browser: a program that asked for the page's text
            return
        tab = seen.tab_id or ""
        session, views[tab] = session_of(tab), seen.id
        await session.stop()
        ui.colors(primary=_COLOUR)
        ui.add_css(STYLE)
        ChatView(session, longest_answer=settings.longest_answer)

        async def leave() -> None:
            if views.get(tab) == seen.id:
                await session.stop()

        seen.on_delete(leave)
