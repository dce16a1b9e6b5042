"""The page's settings: what the next answer is made with, in a panel at its side."""

from collections.abc import Callable

from nicegui import ui

from phi_runner.chat.session import Session

_HOTTEST = 2.0
_LARGEST_SEED = 2**31 - 1


def build(session: Session, *, longest_answer: int) -> ui.dialog:
    """Make the panel, closed; what is set there counts from the next answer on."""
    with ui.dialog().props('position=right full-height aria-label="Settings"') as dialog, ui.card() as card:
        card.classes("chat-settings")
        with ui.row().classes("w-full items-center"):
            ui.label("Settings").classes("text-lg").props("role=heading aria-level=2")
            ui.space()
            ui.button(icon="close", on_click=dialog.close, color=None).props('flat round dense aria-label="Close"')
        _temperature(session)
        _longest_answer(session, most=longest_answer)
        _seed(session)
        _system(session)
    return dialog


def _number(
    label: str, value: float | None, *, most: float, least: float, step: float, take: Callable[[float], None],
    empty: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Make a field for a number; what is out of bounds is told and not taken, `empty` allows none at all."""

    def fits(given: float | None) -> bool:
        return bool(empty) if given is None else least <= given <= most

    def changed(given: float | None) -> None:
        if given is not None and fits(given):
            take(given)
        elif given is None and empty:
            empty()

    number = ui.number(
        label, value=value, min=least, max=most, step=step, precision=0 if step == 1 else None,
        validation={f"from {least:g} to {most:g}": fits}, on_change=lambda event: changed(event.value),
    )  # fmt: skip
    number.classes("w-full").props("outlined dense")


def _temperature(session: Session) -> None:
    def take(value: float) -> None:
        session.controls.temperature = round(value, 2)

    _number("Temperature", session.controls.temperature, least=0, most=_HOTTEST, step=0.1, take=take)
    ui.label("0 always takes the likeliest word; more is livelier.").classes("chat-made")


def _longest_answer(session: Session, *, most: int) -> None:
    def take(value: float) -> None:
        session.controls.max_new_tokens = int(value)

    _number("Longest answer in tokens", session.controls.max_new_tokens, least=1, most=most, step=1, take=take)


def _seed(session: Session) -> None:
    def take(value: float | None = None) -> None:
        session.controls.seed = None if value is None else int(value)

    _number("Seed", session.controls.seed, least=0, most=_LARGEST_SEED, step=1, take=take, empty=take)
    ui.label("Empty: another one each time. Counts above temperature 0 only.").classes("chat-made")


def _system(session: Session) -> None:
    prompt = ui.textarea("System prompt").classes("w-full").props("outlined autogrow")
    prompt.bind_value(session.conversation, "system")
    if not any(side.system for side in session.sides):
        prompt.disable()
        ui.label("This model's chat template has no place for a system prompt.").classes("chat-made")
