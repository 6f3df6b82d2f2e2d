"""The text at one path of a stream: what its string values say one after another, and how far that is decided.

Two kinds of values are no such text. Keys that name things (`type`, `messageId`) have values that stand for
themselves. And a value that is the same in every event is a label once it has gone on for longer than the local part
of any address: should it change after all, what follows is still looked at together with it.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway.interceptors.folding import fold
from gateway.interceptors.held_event import HeldEvent
from gateway.interceptors.kinds import LOCAL_PART_MAX, begins_at, needs
from gateway.interceptors.rules import Edit
from gateway.interceptors.scan import Match, Scanner

# fmt: off
_NAMING: Final = frozenset({
    "agent", "at", "event", "id", "kind", "model", "name", "node", "object", "role", "status", "time", "timestamp",
    "tool", "ts", "type", "version",
})
# fmt: on
_NAMING_WHOLE: Final = frozenset({"finish_reason", "finishReason", "stop_reason", "stopReason"})
_LAST_WORD: Final = re.compile(r"(?:.*[^A-Za-z]|.*[a-z](?=[A-Z])|)([A-Za-z][a-z]*|[A-Z]+)")


def names(key: str) -> bool:
    """Tell whether a key's values are names, each standing for itself."""
    if key in _NAMING_WHOLE:
        return True
    word = _LAST_WORD.fullmatch(key)
    return word is not None and word[1].lower() in _NAMING


@dataclass(slots=True, eq=False)
class Piece:
    """Characters `start` to `end` of a path's text are an event's value."""

    event: HeldEvent
    index: int
    start: int
    end: int


@dataclass(slots=True, eq=False)
class StreamText:
    """The text at one path; offsets count from the stream's beginning."""

    path: str
    # Its values stand for themselves.
    apart: bool
    # Folded: a character of context, if there is one, and all that is not decided.
    buffer: bytes = b""
    context: int = 0
    decided: int = 0
    # Nothing but the beginning of an address or of an NI number can be under way in the buffer.
    plain: bool = True
    pieces: deque[Piece] = field(default_factory=deque)
    # What was cut off its event, as it is written.
    carry: list[str] = field(default_factory=list)
    carry_edits: list[Edit] = field(default_factory=list)
    # The same value ever since it appeared, for so many characters.
    last: str | None = None
    constant: bool = True
    run: int = 0
    label: bool = False
    # A value that stands for itself, was looked at and holds nothing.
    clean: bool = False
    # Where it stood last.
    event: HeldEvent | None = None
    index: int = 0

    @property
    def end(self) -> int:
        """How many characters there have been."""
        return self.decided + len(self.buffer) - self.context

    @property
    def doubtful(self) -> bool:
        """Whether it waits because it may still turn out to be a label."""
        return self.constant and not self.label and bool(self.pieces) and self.pieces[0].event.texts > 1

    @property
    def may_be_label(self) -> bool:
        """Whether there has been more of one and the same value than an address can begin with."""
        return self.constant and self.run > LOCAL_PART_MAX and self.run > len(self.last or "")

    def repeats(self, value: str, width: int) -> bool:
        """Take note of a value where all have been the same; True where it is a label that has not changed."""
        if not value:
            return False
        if self.last is None or value == self.last:
            self.last = value
            self.run += len(value)
        else:
            self.constant = False
            if self.label:
                self._rejoin(width)
        return self.label

    def become_label(self, scanner: Scanner) -> bool:
        """Take the value for a label if no number of repetitions holds a match; else it never is one."""
        value = self.last or ""
        if len(value) > scanner.width or not any(map(str.isalpha, value)):
            self.constant = False
        else:
            found, _ = scanner.scan(fold(value) * (2 * scanner.width // len(value) + 3), 0, last=True)
            self.constant = not found
        self.label = self.constant
        return self.label

    def _rejoin(self, width: int) -> None:
        """Have what follows looked at together with the label, which is out."""
        last = self.last or ""
        tail = (fold(last) * (width // len(last) + 2))[-width - 1 :]
        self.label, self.plain = False, False
        self.buffer, self.context, self.decided = tail, 1, self.decided - len(tail) + 1

    def take(self, folded: bytes, scanner: Scanner) -> list[tuple[int, Match]]:
        """Add to the text and decide what can be decided; return the matches with the offset theirs count from."""
        self.buffer += folded
        if self.plain and scanner.only_built_in and not needs(folded):
            at = begins_at(self.buffer, self.context)
            self._decide(at)
            return _NONE
        return self.settle(scanner, last=False)

    def settle(self, scanner: Scanner, *, last: bool) -> list[tuple[int, Match]]:
        """Decide what can be decided, all of it where the text ends; return as `take` does."""
        base = self.decided - self.context
        found, at = scanner.scan(self.buffer, self.context, last=last)
        self._decide(at)
        self.plain = not needs(self.buffer)
        return [(base, match) for match in found]

    def _decide(self, at: int) -> None:
        kept = at - 1 if at else 0
        self.decided += at - self.context
        self.buffer, self.context = self.buffer[kept:], at - kept

    def release(self) -> None:
        """Let go of the events whose values are decided."""
        pieces, decided = self.pieces, self.decided
        while pieces and pieces[0].end <= decided:
            pieces.popleft().event.undecided -= 1


_NONE: Final[list[tuple[int, Match]]] = []
