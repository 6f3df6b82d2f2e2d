"""Finds what a policy looks for in a text that may still go on.

What is found does not depend on how the text arrives: at every place the longest real match of any kind counts,
places are tried from the first to the last, and a place is tried only once no text to come could change the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import re2

from gateway.interceptors.errors import PatternRefusedError
from gateway.interceptors.kinds import BUILT_IN, Kind, begins_at, may_hold, needs
from gateway.interceptors.patterns import Compiled, compile_pattern, engine

_DIGITS: Final = frozenset(b"0123456789")


@dataclass(frozen=True, slots=True)
class Match:
    """Characters `start` to `end` of a text are a `kind`."""

    start: int
    end: int
    kind: str


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
        begun = self._begun.search(text, start)
        return len(text) if begun is None else begun.start()

    def scan(self, text: bytes, start: int, *, last: bool) -> tuple[list[Match], int]:
        """Return the matches from `start` on, and the place up to which the text is decided.

        `last` says that the text ends here. What lies before `start` is seen as what stands before it, no more.
        """
        decided = len(text) if last else self.live(text, start)
        found: list[Match] = []
        at = start if self.may_match(text) else decided
        while at < decided and (candidate := self._candidate.search(text, at)) is not None:
            begins = candidate.start()
            if begins >= decided:
                break
            best = self._longest(text, begins)
            if best is None:
                at = self._next(text, begins)
                continue
            found.append(best)
            at = best.end
            if at > decided:
                decided = len(text) if last else self.live(text, at)
        return found, max(decided, at)

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
        if self.only_built_in and text[failed] in _DIGITS and b"@" not in text[failed : failed + self.width]:
            while at < len(text) and text[at] in _DIGITS:
                at += 1
        return at
