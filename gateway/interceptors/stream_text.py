"""The text at one path of a stream: what its string values say one after another, and how far that is decided.

Two kinds of values are no such text. Keys that name things (`type`, `messageId`) have values that stand for
themselves. And a value that is the same in every event is a label once it has gone on for longer than the local part
of any address: should it change after all, what follows is still looked at together with it.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway.interceptors.folding import UNSEEN_MAX, Folded, fold
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
    # Folded: a character of context, if there is one, and all that is not tried yet.
    buffer: bytes = b""
    start: int = 0
    # Which character each of the buffer stands for; None where they are the last of the text, one after another.
    places: list[int] | None = None
    # Up to here the buffer belongs to what was found.
    covered: int = 0
    # Of the text: up to where it may go out, how long it is, and how many characters at its end do not show.
    decided: int = 0
    end: int = 0
    unseen: int = 0
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
            self.constant = not scanner.whole(value * (2 * scanner.width // len(value) + 3))
        self.label = self.constant
        return self.label

    def _rejoin(self, width: int) -> None:
        """Have what follows looked at together with the label, which is out."""
        last = self.last or ""
        repeated = last * (width * (UNSEEN_MAX + 1) // len(last) + 2)
        folded = fold(repeated)
        places = folded.places or range(len(repeated))
        self.label, self.plain = False, False
        self.buffer, self.start, self.covered, self.unseen = folded.text[-width - 1 :], 1, 0, folded.unseen
        self.places = [self.end - len(repeated) + place for place in places[-width - 1 :]]
        self.decided = self.places[1]

    def take(self, value: str, scanner: Scanner) -> list[Match]:
        """Add to the text and decide what can be decided; return the matches by the text's characters."""
        folded = fold(value, self.unseen)
        if folded.places is not None or self.places is not None:
            self._list_places(folded, len(value))
        self.buffer += folded.text
        self.end += len(value)
        self.unseen = folded.unseen
        if self.plain and scanner.only_built_in and not needs(folded.text):
            self._try_up_to(begins_at(self.buffer, self.start), 0)
            return _NONE
        return self.settle(scanner, last=False)

    def settle(self, scanner: Scanner, *, last: bool) -> list[Match]:
        """Decide what can be decided, all of it where the text ends; return as `take` does."""
        scanned = scanner.scan(self.buffer, self.start, self.covered, last=last)
        found = [self._placed(match) for match in scanned.found]
        self._try_up_to(scanned.tried, scanned.covered)
        self.plain = self.covered <= self.start and not needs(self.buffer)
        return found

    def _list_places(self, folded: Folded, size: int) -> None:
        """List which characters the buffer stands for, those of a value of that size that is about to follow too."""
        end = self.end
        before = range(end - len(self.buffer), end) if self.places is None else self.places
        added = range(size) if folded.places is None else folded.places
        self.places = [*before, *(end + place for place in added)]

    def _placed(self, match: Match) -> Match:
        """Return a match of the buffer by the text's characters; one that goes on does so right behind the last."""
        start = self._place(match.start) if match.kind else self._behind(match.start)
        return Match(start, self._behind(match.end), match.kind)

    def _place(self, at: int) -> int:
        """Return which character of the text one of the buffer stands for."""
        return self.end - len(self.buffer) + at if self.places is None else self.places[at]

    def _behind(self, at: int) -> int:
        """Return the character of the text that comes right behind what the buffer holds before `at`."""
        return self._place(at - 1) + 1

    def _try_up_to(self, tried: int, covered: int) -> None:
        if tried < covered:
            self.decided = self._behind(covered)
        else:
            self.decided = self._place(tried) if tried < len(self.buffer) else self.end
        kept = tried - 1 if tried else 0
        self.start = tried - kept
        self.covered = max(covered - kept, 0) if covered else 0
        if kept:
            self.buffer = self.buffer[kept:]
        if self.places is not None:
            places = self.places = self.places[kept:]
            if not places or places[0] == self.end - len(places):
                self.places = None

    def release(self) -> None:
        """Let go of the events whose values are decided."""
        pieces, decided = self.pieces, self.decided
        while pieces and pieces[0].end <= decided:
            pieces.popleft().event.undecided -= 1


_NONE: Final[list[Match]] = []
