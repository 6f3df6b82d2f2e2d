"""What a tenant wants done with personal data, compiled, and how a match is taken out of JSON as it is written.

A whole number is looked at as far as card and NHS numbers go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.interceptors.errors import RedactionBlockedError
from gateway.interceptors.json_text import Token, characters, decode
from gateway.interceptors.kinds import Kind, card, nhs_number, whole
from gateway.interceptors.scan import Match, Scanner

NAME: Final = "redact"
_UNIX_SECONDS: Final = range(1_000_000_000, 2_147_483_648)
_NUMBERS: Final = (("payment_card", card, range(13, 20)), ("nhs_number", nhs_number, range(10, 11)))


@dataclass(frozen=True, slots=True)
class TenantPattern:
    """A pattern of the tenant's own; its name is the kind that is shown in place of a match."""

    name: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tenant wants done with personal data in its answers."""

    action: Literal["redact", "block"]
    patterns: Sequence[TenantPattern] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters `start` to `end` of a text give way to `put`."""

    start: int
    end: int
    put: str


def marker(kind: str) -> str:
    """Return what stands in place of a match."""
    return f"[REDACTED:{kind}]"


def edited(written: str, edits: Sequence[Edit]) -> str:
    """Return a string's characters as they are written, but for the edits, which are in order and apart."""
    if "\\" in written:
        return joined(characters(written), edits)
    parts: list[str] = []
    at = 0
    for edit in edits:
        parts += (written[at : edit.start], edit.put)
        at = edit.end
    return "".join((*parts, written[at:]))


def joined(chars: Sequence[str], edits: Sequence[Edit]) -> str:
    """Return the text of some characters as they are written, but for the edits, which are in order and apart."""
    parts: list[str] = []
    at = 0
    for edit in edits:
        parts += (*chars[at : edit.start], edit.put)
        at = edit.end
    return "".join((*parts, *chars[at:]))


def number_kind(written: str) -> str | None:
    """Return what a number as it is written gives away, if anything."""
    digits = written.removeprefix("-")
    if not digits.isdigit() or (len(digits) == 10 and int(digits) in _UNIX_SECONDS):  # noqa: PLR2004 a time
        return None
    text = digits.encode()
    return next((kind for kind, judge, sizes in _NUMBERS if len(text) in sizes and judge(text, 0, len(text))), None)


class Rules:
    """A tenant's policy, compiled; raises PatternRefusedError."""

    def __init__(self, policy: Policy) -> None:
        own = tuple(Kind(pattern.name, pattern.pattern, whole) for pattern in policy.patterns)
        self._blocks = policy.action == "block"
        self.scanner = Scanner(own)

    @property
    def width(self) -> int:
        """The longest match there can be, in characters."""
        return self.scanner.width

    def put(self, document: str, token: Token) -> str | None:
        """Return what a token that stands for itself is replaced by; raises RedactionBlockedError."""
        written = document[token.start : token.end]
        if token.kind == "number":
            kind = number_kind(written)
            return None if kind is None else f'"{self.replacement(kind)}"'
        found = self.scanner.whole(decode(written))
        if not found:
            return None
        return edited(written, [self.edit(match) for match in found])

    def edit(self, match: Match) -> Edit:
        """Return the edit that takes a match out; raises RedactionBlockedError."""
        return Edit(match.start, match.end, self.replacement(match.kind))

    def replacement(self, kind: str) -> str:
        """Return what takes the place of a match; raises RedactionBlockedError where the policy blocks."""
        if self._blocks:
            raise RedactionBlockedError(kind)
        return marker(kind)
