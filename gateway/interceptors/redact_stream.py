"""Takes personal data out of a streamed answer, however its text is cut into events.

The text of a stream is what the string values at one path say in a row, places in lists not counted. A match may
begin in one event and end in another; it is shown where it begins. Nothing of what may still become part of a match
goes out; what is not changed goes out as the bytes that came.

Events wait whole, in order, for as long as the text in them is no longer than the longest match. Beyond that they go
out without the characters that may be under way, which then stand before the next text at their path.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.interceptors.event_texts import EventReader
from gateway.interceptors.held_event import HeldEvent
from gateway.interceptors.json_text import JsonUnreadableError
from gateway.interceptors.rules import NAME, Edit, Rules, joined
from gateway.interceptors.scan import Match
from gateway.interceptors.stream_text import Piece, StreamText, names

# Whole events wait for others without text for so long, then go ahead without what they hold back.
EVENTS_MAX: Final = 16
# They wait longer while a value may turn out to be a label: an address begins with no more than 64 characters.
DOUBTFUL_MAX: Final = 72
LABELLED_MAX: Final = 65_536
# Paths without anything under way are forgotten when there are so many, or twice as many as were left then.
_TEXTS_MAX: Final = 256


class StreamRedactor:
    """Redacts one stream; not to be shared. Whatever it raised, it raises again."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._reader = EventReader(rules)
        self._texts: dict[str, StreamText] = {}
        self._texts_max = _TEXTS_MAX
        # Those that events may wait for.
        self._waiting: set[StreamText] = set()
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
        self._waiting.clear()
        self._held = 0

    def _feed(self, event: HeldEvent) -> list[bytes]:
        values = self._reader.read(event)
        if event.puts is not None:
            self._matches += len(event.puts)
        for index, (path, value) in enumerate(values):
            text = self._texts.get(path) or self._text_at(path)
            if text.apart:
                if value != text.last or not text.clean:
                    self._take_apart(text, event, index, value)
            else:
                event.texts += 1
                if not (text.constant and self._is_label(text, event, index, values)):
                    self._take(text, event, index, value)
            text.event, text.index = event, index
        queue = self._queue
        if not queue and not event.undecided:
            return [event.render()]
        queue.append(event)
        self._held += event.size
        out = self._released()
        if (len(queue) > EVENTS_MAX or self._held > self._rules.width) and not self._in_doubt():
            self._cut()
            out += self._released()
        return out

    def _text_at(self, path: str) -> StreamText:
        if path in self._texts:
            return self._texts[path]
        if len(self._texts) >= self._texts_max:
            self._texts = {path: text for path, text in self._texts.items() if text.end > text.decided}
            self._texts_max = max(_TEXTS_MAX, 2 * len(self._texts))
        text = self._texts[path] = StreamText(path, names(path.rpartition("/")[2]))
        return text

    def _take(self, text: StreamText, event: HeldEvent, index: int, value: str) -> None:
        """Join a value to its path's text."""
        if not value and not text.carry:
            return
        start = text.end
        if text.carry:
            start = text.decided
            event.carry(index, text.carry)
            text.carry = []
        first = text.decided
        found = text.take(value, self._rules.scanner)
        end = text.end
        if text.decided < end or found or text.pieces:
            if text.decided < end or found:
                text.pieces.append(Piece(event, index, start, end))
                event.undecided += 1
                event.size += end - start
            if found:
                self._edit(text, first, found)
            text.release()
            if text.pieces:
                self._waiting.add(text)

    def _is_label(self, text: StreamText, event: HeldEvent, index: int, values: Sequence[tuple[str, str]]) -> bool:
        """Tell whether a value is a label, at a path where all have been the same so far."""
        if text.repeats(values[index][1], self._rules.width):
            return True
        if not text.may_be_label or sum(not self._text_at(path).apart for path, _ in values) == 1:
            return False
        if not text.become_label(self._rules.scanner):
            return False
        self._close(text)
        if text.carry:
            event.carry(index, [joined(text.carry, text.carry_edits)])
            text.carry, text.carry_edits = [], []
        return True

    def _take_apart(self, text: StreamText, event: HeldEvent, index: int, value: str) -> None:
        """Let a value stand for itself, joined to nothing."""
        if text.clean and value == text.last:
            return
        found = self._rules.scanner.whole(value)
        for match in found:
            event.edit(index, self._rules.edit(match))
        self._matches += len(found)
        text.last, text.clean = value, not found

    def _close(self, text: StreamText) -> None:
        if text.end > text.decided:
            first = text.decided
            self._edit(text, first, text.settle(self._rules.scanner, last=True))
            text.release()

    def _edit(self, text: StreamText, first: int, found: list[Match]) -> None:
        """Take matches out of the values they stand in; `first` is up to where the text was decided before."""
        for match in found:
            start, end, put = match.start, match.end, ""
            if match.kind:
                put = self._rules.replacement(match.kind)
                self._matches += 1
            if text.carry:
                text.carry_edits.append(Edit(start - first, end - first, put))
            for piece in text.pieces:
                if piece.start < end and start < piece.end:
                    within = Edit(max(start, piece.start) - piece.start, min(end, piece.end) - piece.start, put)
                    piece.event.edit(piece.index, within)
                    put = ""

    def _in_doubt(self) -> bool:
        """Tell whether a value that may be a label is waited for, which is seen within some events."""
        if len(self._queue) > DOUBTFUL_MAX or self._held > LABELLED_MAX:
            return False
        return any(text.doubtful for text in self._waiting)

    def _cut(self) -> None:
        """Let every event go without its undecided characters, and keep those."""
        for text in self._waiting:
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
        if not self._queue:
            self._waiting.clear()
        return out

    def _carried_out(self) -> list[bytes]:
        """Return an event of the last one's shape for what was cut off and never joined again."""
        shapes: dict[HeldEvent, dict[int, str]] = {}
        for text in self._texts.values():
            if text.carry and text.event is not None:
                shapes.setdefault(text.event, {})[text.index] = joined(text.carry, text.carry_edits)
                text.carry = []
        labels = frozenset(path for path, text in self._texts.items() if text.label or text.apart)
        return [event.again(texts, labels) for event, texts in shapes.items()]
