"""One side's answer on the page: its text as it grows, how it was made, and what a person can do with it."""

from collections.abc import Callable

from markdown_it import MarkdownIt
from nicegui import ui

from phi_runner.chat.conversation import Answer, State, Tries
from phi_runner.chat.feedback import Vote
from phi_runner.chat.session import Session
from phi_runner.errors import StoreProblem

# Tags in an answer are shown as text, and no picture is fetched: the model's words are not ours.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")
_ENDED = {
    State.cut: "cut here: more tokens are allowed under Settings", State.stopped: "stopped",
    State.finished: "", State.failed: "", State.writing: "",
}  # fmt: skip


def icon_button(icon: str, *, label: str, on_click: Callable[[], object]) -> ui.button:
    """Make a small button whose meaning screen readers and the pointer's hint tell."""
    button = ui.button(icon=icon, on_click=on_click, color=None)
    button.props(f'flat round dense size=sm aria-label="{label}"')
    with button:
        ui.tooltip(label)
    return button


class AnswerView:
    """Shows the answer that counts among a side's tries; `paint` brings it up to date."""

    def __init__(self, tries: Tries, *, session: Session, side: int, on_retry: Callable[[int], object]) -> None:
        self._tries, self._session, self._side, self._on_retry = tries, session, side, on_retry
        self._box = ui.column().classes("chat-answer")
        self._text: ui.html | None = None
        self._votes: dict[Vote, ui.button] = {}
        self._steps: dict[int, ui.button] = {}
        self._shown: tuple[object, ...] = ()
        self.paint()

    def paint(self) -> None:
        """Show what has come since the last time; all is built anew only when its state has changed."""
        answer = self._tries.shown
        shown = (id(answer), answer.state, bool(answer.text), len(self._tries.answers))
        if shown != self._shown:
            self._shown = shown
            self._build(answer)
        elif self._text is not None and answer.state is State.writing:
            self._text.set_content(_MARKDOWN.render(answer.text))

    def _build(self, answer: Answer) -> None:
        self._box.clear()
        self._text = None
        with self._box:
            if len(self._session.sides) > 1:
                ui.label(f"{'tuned' if self._side == 0 else 'base'}: {answer.label}").classes("chat-side")
            if answer.text:
                self._text = ui.html(_MARKDOWN.render(answer.text), sanitize=True).classes("chat-text")
            if answer.state is State.writing:
                self._building(answer)
                return
            if answer.problem:
                ui.label(answer.problem).classes("chat-problem").props("role=alert")
            elif not answer.text:
                ui.label("no words" if answer.state is State.stopped else "an empty answer").classes("chat-made")
            if _ENDED[answer.state]:
                ui.label(f"[{_ENDED[answer.state]}]").classes("chat-made")
            self._actions(answer)
            if not answer.problem:
                ui.label(answer.told()).classes("chat-made")

    def _building(self, answer: Answer) -> None:
        if self._text is not None:
            self._text.classes("writing")
        else:
            ui.spinner("dots", size="2rem").props('aria-label="waits for the first word"')

    def _actions(self, answer: Answer) -> None:
        with ui.row().classes("chat-actions"):
            if answer.text:
                self._votes = {
                    Vote.up: icon_button("thumb_up", label="Good answer", on_click=lambda: self._vote(answer, Vote.up)),
                    Vote.down: icon_button(
                        "thumb_down", label="Bad answer", on_click=lambda: self._vote(answer, Vote.down)
                    ),
                }
                self._mark(answer)
                icon_button("content_copy", label="Copy", on_click=lambda: ui.clipboard.write(answer.text))
            icon_button("refresh", label="Retry", on_click=lambda: self._on_retry(self._side)).classes("last-only")
            if len(self._tries.answers) > 1:
                self._steps[-1] = icon_button(
                    "chevron_left", label="Earlier answer", on_click=lambda: self._turn_to(-1)
                )
                ui.label(f"{self._tries.chosen + 1}/{len(self._tries.answers)}").classes("chat-made")
                self._steps[1] = icon_button("chevron_right", label="Later answer", on_click=lambda: self._turn_to(1))

    def _mark(self, answer: Answer) -> None:
        """Show which vote stands; the buttons stay, and so does the keyboard's focus on one of them."""
        for vote, button in self._votes.items():
            if answer.vote is vote:
                button.props("aria-pressed=true color=primary")
            else:
                button.props("aria-pressed=false", remove="color")

    async def _vote(self, answer: Answer, vote: Vote) -> None:
        try:
            kept = await self._session.vote(answer, vote)
        except StoreProblem as err:
            ui.notify(str(err), type="warning", multi_line=True, position="top")
            return
        ui.notify(kept.told(), position="top", timeout=2000)
        self._mark(answer)

    def _turn_to(self, step: int) -> None:
        """Show the try before or after; the conversation goes on from it."""
        if not self._session.busy:
            self._tries.chosen = (self._tries.chosen + step) % len(self._tries.answers)
            self.paint()
            ui.run_javascript(f"getHtmlElement({self._steps[step].id}).focus()")
