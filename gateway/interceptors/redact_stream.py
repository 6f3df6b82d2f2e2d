"""Takes personal data out of a streamed answer, however its text is cut into events.

The text of a stream is what the string values at one path say in a row, places in lists not counted. A match may
begin in one event and end in another; it is shown where it begins. Nothing of what may still become part of a match
goes out; what is not changed goes out as the bytes that came.

Events wait whole, in order, for as long as the text in them is no longer than the longest match. Beyond that they go
out without the characters that may be under way, which then stand before the next text at their path.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.interceptors.event_texts import EventReader
from gateway.interceptors.folding import fold
from gateway.interceptors.held_event import HeldEvent
from gateway.interceptors.json_text import JsonUnreadableError
from gateway.interceptors.rules import NAME, Edit, Rules, joined
from gateway.interceptors.scan import Match, Scanner

# Whole events wait for others without text for so long, then go ahead without what they hold back.
EVENTS_MAX: Final = 16
# A first event that may carry a label waits for a second one up to this size.
LABELLED_MAX: Final = 65_536
_TEXTS_MAX: Final = 256


@dataclass(slots=True, eq=False)
class _Piece:
    """Characters `start` to `end` of a path's text are an event's value."""

    event: HeldEvent
    index: int
    start: int
    end: int


@dataclass(slots=True, eq=False)
class _Text:
    """The text at one path; offsets count from the stream's beginning."""

    path: str
    # Folded: a character of context, if there is one, and all that is not decided.
    buffer: bytes = b""
    context: int = 0
    decided: int = 0
    pieces: deque[_Piece] = field(default_factory=deque)
    # What was cut off its event, as it is written.
    carry: list[str] = field(default_factory=list)
    carry_edits: list[Edit] = field(default_factory=list)
    last: str | None = None
    label: bool = False
    # A label that was looked at and holds nothing.
    clean: bool = False
    shape: tuple[HeldEvent, int] | None = None

    @property
    def end(self) -> int:
        """How many characters there have been."""
        return self.decided + len(self.buffer) - self.context

    def begin_anew(self) -> None:
        """Forget what came before: the next value is not joined to it."""
        self.decided, self.buffer, self.context = self.end, b"", 0

    def settle(self, scanner: Scanner, *, last: bool) -> list[tuple[int, Match]]:
        """Decide what can be decided; return the matches with the offset theirs count from."""
        base = self.decided - self.context
        found, at = scanner.scan(self.buffer, self.context, last=last)
        kept = max(at - 1, 0)
        self.buffer, self.context, self.decided = self.buffer[kept:], at - kept, base + at
        return [(base, match) for match in found]

    def release(self) -> None:
        """Let go of the events whose values are decided."""
        while self.pieces and self.pieces[0].end <= self.decided:
            self.pieces.popleft().event.undecided -= 1


class StreamRedactor:
    """Redacts one stream; not to be shared. Whatever it raised, it raises again."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._reader = EventReader(rules)
        self._texts: dict[str, _Text] = {}
        self._queue: deque[HeldEvent] = deque()
        self._held = 0
        self._matches = 0
        self._ended: RedactionBlockedError | InterceptorFailedError | None = None

    @property
    def matches(self) -> int:
        """How many matches were replaced."""
        return self._matches

    @property
    def held_characters(self) -> int:
        """How many characters of text wait."""
        return self._held + sum(len(text.carry) for text in self._texts.values())

    def feed(self, event_json: bytes) -> list[bytes]:
        """Take one event and return those that may go out.

        Raises RedactionBlockedError, and InterceptorFailedError where the event is no JSON.
        """
        if self._ended is not None:
            raise self._ended
        try:
            return self._feed(HeldEvent(event_json))
        except (RedactionBlockedError, InterceptorFailedError) as ended:
            self._end(ended)
            raise
        except JsonUnreadableError:
            self._end(InterceptorFailedError(NAME))
            raise InterceptorFailedError(NAME) from None

    def finish(self) -> list[bytes]:
        """Return what still waits: the text has ended. Raises RedactionBlockedError."""
        if self._ended is not None:
            raise self._ended
        try:
            for text in self._texts.values():
                self._close(text)
        except RedactionBlockedError as ended:
            self._end(ended)
            raise
        return self._released() + self._carried_out()

    def _end(self, ended: RedactionBlockedError | InterceptorFailedError) -> None:
        self._ended = ended
        self._queue.clear()
        self._texts.clear()
        self._held = 0

    def _feed(self, event: HeldEvent) -> list[bytes]:
        values = self._reader.read(event)
        self._matches += len(event.puts)
        texts = [self._text(path) for path, _ in values]
        event.texts = len(values)
        changes = any(text.last != value for text, (_, value) in zip(texts, values, strict=True))
        for index, (text, (_, value)) in enumerate(zip(texts, values, strict=True)):
            if changes and value == text.last and any(map(str.isalpha, value)):
                self._take_label(text, event, index, value)
            else:
                self._take(text, event, index, value)
            text.shape = event, index
        self._queue.append(event)
        self._held += event.size
        out = self._released()
        if self._overfull():
            self._cut()
            out += self._released()
        return out

    def _text(self, path: str) -> _Text:
        text = self._texts.get(path)
        if text is None:
            if len(self._texts) >= _TEXTS_MAX:
                self._texts = {path: text for path, text in self._texts.items() if text.end > text.decided}
            text = self._texts[path] = _Text(path)
        return text

    def _take(self, text: _Text, event: HeldEvent, index: int, value: str) -> None:
        """Join a value to its path's text."""
        # A label stays one while it is the same, also in an event in which nothing else goes on.
        text.label, text.last, text.clean = text.label and value == text.last, value, False
        if not value and not text.carry:
            return
        start = text.end
        if text.carry:
            start = text.decided
            event.carried[index], text.carry = text.carry, []
        text.buffer += fold(value)
        text.pieces.append(_Piece(event, index, start, text.end))
        event.undecided += 1
        event.size += text.end - start
        self._settle(text, last=False)

    def _take_label(self, text: _Text, event: HeldEvent, index: int, value: str) -> None:
        """Let a value that repeats while another text goes on stand for itself, joined to nothing."""
        if text.label and text.clean and text.end == text.decided:
            return
        self._close(text)
        if text.carry:
            event.carried[index] = [joined(text.carry, text.carry_edits)]
            text.carry, text.carry_edits = [], []
        text.begin_anew()
        found, _ = self._rules.scanner.scan(fold(value), 0, last=True)
        shift = len(event.carried.get(index, ()))
        for match in found:
            edit = self._rules.edit(match)
            event.edit(index, Edit(edit.start + shift, edit.end + shift, edit.put))
        self._matches += len(found)
        text.label, text.clean = True, not found

    def _close(self, text: _Text) -> None:
        if text.end > text.decided:
            self._settle(text, last=True)

    def _settle(self, text: _Text, *, last: bool) -> None:
        first = text.decided
        for base, match in text.settle(self._rules.scanner, last=last):
            put = self._rules.replacement(match.kind)
            self._matches += 1
            start, end = base + match.start, base + match.end
            if text.carry:
                text.carry_edits.append(Edit(start - first, end - first, put))
            for piece in text.pieces:
                if piece.start < end and start < piece.end:
                    within = Edit(max(start, piece.start) - piece.start, min(end, piece.end) - piece.start, put)
                    piece.event.edit(piece.index, within)
                    put = ""
        text.release()

    def _overfull(self) -> bool:
        if not self._queue:
            return False
        if len(self._queue) > EVENTS_MAX or self._held > LABELLED_MAX:
            return True
        return self._held > self._rules.width and not self._may_be_labelled(self._queue[-1])

    def _may_be_labelled(self, event: HeldEvent) -> bool:
        """Tell whether a value of the event stands alone and undecided beside others: the next event will tell."""
        if event.texts < 2:  # noqa: PLR2004 one text has nothing beside it
            return False
        return any(
            text.pieces and text.pieces[0].event is event and text.pieces[0].start >= text.decided
            for text in self._texts.values()
        )

    def _cut(self) -> None:
        """Let every event go without its undecided characters, and keep those."""
        for text in self._texts.values():
            if text.label:
                self._close(text)
            while text.pieces:
                piece = text.pieces.popleft()
                start = max(text.decided, piece.start) - piece.start
                text.carry += piece.event.written(piece.index)[start:]
                piece.event.edit(piece.index, Edit(start, piece.end - piece.start, ""))
                piece.event.undecided -= 1

    def _released(self) -> list[bytes]:
        out = []
        while self._queue and not self._queue[0].undecided:
            event = self._queue.popleft()
            self._held -= event.size
            out.append(event.render())
        return out

    def _carried_out(self) -> list[bytes]:
        """Return an event of the last one's shape for what was cut off and never joined again."""
        shapes: dict[HeldEvent, dict[int, str]] = {}
        for text in self._texts.values():
            if text.carry and text.shape is not None:
                event, index = text.shape
                shapes.setdefault(event, {})[index] = joined(text.carry, text.carry_edits)
                text.carry = []
        labels = frozenset(path for path, text in self._texts.items() if text.label)
        return [event.again(texts, labels) for event, texts in shapes.items()]
