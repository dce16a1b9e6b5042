"""A stage's events, kept in a list."""

from dataclasses import dataclass, field

from phi_runner.events import Event, Events, Kind, StageEvents


@dataclass(frozen=True, slots=True)
class Listening:
    """What a stage said while `events` was handed to it."""

    heard: list[Event] = field(default_factory=list)

    @property
    def events(self) -> StageEvents:
        """The stream to hand over."""
        stream = Events()
        stream.listen(self.heard.append)
        return StageEvents(stream, "data")

    def said(self, kind: Kind) -> list[str]:
        """Return the messages of one kind."""
        return [event.message for event in self.heard if event.kind is kind]
