"""The page's settings: what the next answer is made with, in a panel at its side."""

from collections.abc import Callable

from nicegui import ui

from phi_runner.chat.session import Session

_HOTTEST = 2.0


def build(session: Session, *, longest_answer: int) -> ui.dialog:
    """Make the panel, closed; what is set there counts from the next answer on."""
    controls = session.controls
    with ui.dialog().props('position=right full-height aria-label="Settings"') as dialog, ui.card() as card:
        card.classes("chat-settings")
        with ui.row().classes("w-full items-center"):
            ui.label("Settings").classes("text-lg").props("role=heading aria-level=2")
            ui.space()
            ui.button(icon="close", on_click=dialog.close, color=None).props('flat round dense aria-label="Close"')
        label = ui.label().classes("text-sm")
        label.bind_text_from(controls, "temperature", lambda value: f"Temperature: {value:g}")
        slider = ui.slider(min=0, max=_HOTTEST, step=0.1).props('aria-label="Temperature"')
        slider.bind_value(controls, "temperature", forward=lambda value: round(value or 0.0, 2))
        ui.label("0 always takes the likeliest word; more is livelier.").classes("chat-made")
        _number(
            "Longest answer in tokens", controls.max_new_tokens, most=longest_answer,
            take=lambda value: setattr(controls, "max_new_tokens", value),
        )  # fmt: skip
        _seed(session)
        _system(session)
    return dialog


def _number(label: str, value: int, *, most: int, take: Callable[[int], None]) -> None:
    def fits(given: float | None) -> bool:
        return given is not None and given == int(given) and 1 <= given <= most

    def changed(given: float | None) -> None:
        if given is not None and fits(given):
            take(int(given))

    number = ui.number(
        label, value=value, min=1, max=most, precision=0, validation={f"a whole number from 1 to {most}": fits},
        on_change=lambda event: changed(event.value),
    )  # fmt: skip
    number.classes("w-full").props("outlined dense")


def _seed(session: Session) -> None:
    def changed(given: float | None) -> None:
        session.controls.seed = None if given is None else int(given)

    number = ui.number(
        "Seed (empty: another one each time)", value=session.controls.seed, precision=0,
        on_change=lambda event: changed(event.value),
    )  # fmt: skip
    number.classes("w-full").props("outlined dense clearable")
    ui.label("Counts above temperature 0 only.").classes("chat-made")


def _system(session: Session) -> None:
    prompt = ui.textarea("System prompt").classes("w-full").props("outlined autogrow")
    prompt.bind_value(session.conversation, "system")
    if not any(side.system for side in session.sides):
        prompt.disable()
        ui.label("This model's chat template has no place for a system prompt.").classes("chat-made")
