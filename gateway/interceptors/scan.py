"""Finds what a policy looks for in a text that may still go on.

What is found does not depend on how the text arrives: at every place the longest real match of any kind counts, and a
place is tried only once no text to come could change the verdict. Matches that overlap are one: from where the first
begins to where the last ends, so that what one of them leaves of another does not stay.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import re2

from gateway.interceptors.errors import PatternRefusedError
from gateway.interceptors.folding import fold
from gateway.interceptors.kinds import ADDRESS_RUN, BUILT_IN, LOCAL_PART_MAX, WEAKEST, Kind, begins_at, may_hold, needs
from gateway.interceptors.patterns import Compiled, compile_pattern, engine

_DIGITS: Final = re.compile(rb"[0-9]+")


@dataclass(frozen=True, slots=True)
class Match:
    """Characters `start` to `end` of a text are a `kind`; without one they go on with the match before them."""

    start: int
    end: int
    kind: str = ""


class Scanned(NamedTuple):
    """What was found, up to where places were tried, and up to where what was found reaches, maybe beyond that."""

    found: list[Match]
    tried: int
    covered: int


class Scanner:
    """The built-in kinds and a policy's own, compiled once and shared by everything that is scanned by it."""

    def __init__(self, own: Sequence[Kind] = ()) -> None:
        kinds = (*BUILT_IN, *own)
        patterns = [compile_pattern(kind.name, kind.pattern) for kind in kinds]
        self.only_built_in = not own
        self._kinds: list[tuple[Compiled, Kind]] = [
            (engine(pattern.whole), kind) for pattern, kind in zip(patterns, kinds, strict=True)
        ]
        begins = [engine(pattern.beginning) for pattern in patterns]
        self._by_first = [
            [kind for kind, begun in zip(self._kinds, begins, strict=True) if begun.fullmatch(bytes([first]))]
            for first in range(0x80)
        ]
        either = "|".join(pattern.whole for pattern in patterns)
        begun = "|".join(pattern.beginning for pattern in patterns)
        try:
            self._candidate = engine(f"(?:{either})")
            self._begun = engine(f"(?:{begun})$")
        except re2.error as error:
            raise PatternRefusedError(own[-1].name, "the patterns are too large together") from error
        self.width = max(pattern.width for pattern in patterns)

    def may_match(self, text: bytes) -> bool:
        """Tell whether anything in the text looks like a match; a text it denies holds none."""
        if self.only_built_in and not may_hold(text):
            return False
        return self._candidate.search(text) is not None

    def live(self, text: bytes, start: int) -> int:
        """Return the first place from `start` on at which a match may be under way at the text's end."""
        if self.only_built_in and not needs(text):
            return begins_at(text, start)
        return self.live_by_pattern(text, start)

    def live_by_pattern(self, text: bytes, start: int) -> int:
        """Return the same for any text, more slowly."""
        at = start
        while (begun := self._begun.search(text, at)) is not None:
            at = begun.start()
            following = self._next(text, at - 1) if at else at
            if following <= at or not text[at:].strip(ADDRESS_RUN):
                return at
            at = following
        return len(text)

    def whole(self, text: str) -> list[Match]:
        """Return the matches of a text that is complete, by its characters."""
        folded = fold(text)
        found, _, _ = self.scan(folded.text, 0, 0, last=True)
        places = folded.places
        if places is None:
            return found
        return [Match(places[match.start], places[match.end - 1] + 1, match.kind) for match in found]

    def scan(self, text: bytes, start: int, covered: int, *, last: bool) -> Scanned:
        """Find the matches that begin at `start` or later, or begin within what is covered and go beyond it.

        `last` says that the text ends here. What lies before `start` is seen as what stands before it, no more. A
        match is told once everything that begins within it is decided; what overlaps only that may follow later.
        """
        decided = len(text) if last else self.live(text, start)
        found: list[Match] = []
        at = start if covered > start or self.may_match(text) else decided
        while at < decided:
            if at < covered:
                low, at = at, min(covered, decided)
                further = self._further(text, low, at, covered)
                if further is not None:
                    before = found.pop() if found else Match(covered, covered)
                    covered = further.end
                    found.append(Match(before.start, covered, before.kind))
                continue
            candidate = self._candidate.search(text, at)
            if candidate is None or candidate.start() >= decided:
                at = decided
                break
            best = self._longest(text, candidate.start())
            if best is None:
                at = self._next(text, candidate.start())
            elif best.kind != WEAKEST:
                found.append(best)
                at, covered = best.start + 1, best.end
            elif best.end > decided:
                at = decided = best.start
            else:
                further = self._further(text, best.start + 1, best.end, best.end)
                at = covered = best.end
                if further is not None:
                    covered = further.end
                    best = Match(best.start, covered, further.kind)
                found.append(best)
        return Scanned(found, min(at, decided), covered)

    def _further(self, text: bytes, low: int, high: int, covered: int) -> Match | None:
        """Return the match that reaches furthest beyond what is covered, of those beginning from `low` to `high`."""
        if covered == len(text):
            return None
        # Whatever reaches beyond begins with all from there to one character beyond.
        begun = self._begun.search(text[low : covered + 1])
        at = high if begun is None else low + begun.start()
        starts: list[int] = []
        while at < high:
            starts.append(at)
            at = self._next(text, at)
        furthest: Match | None = None
        for start in reversed(starts):
            if start + self.width <= covered:
                break
            match = self._longest(text, start)
            if match is not None and match.end > covered:
                furthest, covered = match, match.end
        return furthest

    def _longest(self, text: bytes, start: int) -> Match | None:
        best: Match | None = None
        for pattern, kind in self._by_first[text[start]]:
            candidate = pattern.match(text, start)
            if candidate is None:
                continue
            end = kind.judge(text, start, candidate.end())
            if end and (best is None or end > best.end):
                best = Match(start, end, kind.name)
        return best

    def _next(self, text: bytes, failed: int) -> int:
        """Return the next place a match may begin at: of the built-in kinds, only an address begins inside digits."""
        at = failed + 1
        digits = _DIGITS.match(text, failed) if self.only_built_in else None
        if digits is None:
            return at
        end = digits.end()
        address = text.find(b"@", end, end + LOCAL_PART_MAX)
        return end if address < 0 else max(at, min(end, address - LOCAL_PART_MAX))
