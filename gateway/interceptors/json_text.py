"""The texts of a JSON document: where each stands, at which path, and its characters as they are written.

A document is read as text and never written anew: what is not changed keeps its bytes, escapes and blanks included.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

TokenKind = Literal["key", "string", "number"]
# What a depth of nesting adds to a path is bounded by what every JSON reader takes.
_DEPTH_MAX: Final = 1024
_BLANKS: Final = " \t\n\r"
_TOKEN: Final = re.compile(
    r'[ \t\n\r]*(?:"(?P<string>[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+)"'
    r"|(?P<number>-?[0-9]++(?:\.[0-9]++)?(?:[eE][+\-]?[0-9]++)?)"
    r"|(?P<mark>[{}\[\],:])|true|false|null)"
)
_CHARACTER: Final = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|[^\\]", re.DOTALL)
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class JsonUnreadableError(ValueError):
    """The bytes are no JSON document."""


@dataclass(frozen=True, slots=True)
class Token:
    """A key, a string or a number: its characters stand from `start` to `end`, quotes left out."""

    kind: TokenKind
    start: int
    end: int
    path: str


def tokens(document: str) -> Iterator[Token]:
    """Yield the document's keys, strings and numbers in order; raises JsonUnreadableError.

    A path is made of the keys as they are decoded; places in a list do not count.
    """
    place, at, size = _Place(), 0, len(document.rstrip(_BLANKS))
    if not size:
        raise JsonUnreadableError
    while at < size:
        found = _TOKEN.match(document, at)
        if found is None:
            raise JsonUnreadableError
        at = found.end()
        match found.lastgroup:
            case "string":
                start, end = found.span("string")
                if place.expects_key:
                    yield Token("key", start, end, place.path)
                    place.enter(decode(document[start:end]))
                else:
                    yield Token("string", start, end, place.path)
            case "number":
                yield Token("number", *found.span("number"), place.path)
            case "mark":
                place.mark(document[at - 1])
    if place.outer:
        raise JsonUnreadableError


class _Place:
    """Where in a document the reader is."""

    def __init__(self) -> None:
        self.path = ""
        self.expects_key = False
        # Of every open object and list: its bracket and its path.
        self.outer: list[tuple[str, str]] = []

    def enter(self, key: str) -> None:
        """Go on to a member's value."""
        self.path, self.expects_key = f"{self.path}/{key}", False

    def mark(self, mark: str) -> None:
        """Go on past a bracket, a comma or a colon."""
        if mark in "{[":
            if len(self.outer) == _DEPTH_MAX:
                raise JsonUnreadableError
            self.outer.append((mark, self.path))
            self.expects_key = mark == "{"
        elif mark in "}]":
            if not self.outer:
                raise JsonUnreadableError
            self.path, self.expects_key = self.outer.pop()[1], False
        elif mark == "," and self.outer:
            bracket, self.path = self.outer[-1]
            self.expects_key = bracket == "{"


def characters(written: str) -> Sequence[str]:
    """Return a string's characters as they are written: an escape is one, a pair of surrogates too."""
    return _CHARACTER.findall(written) if "\\" in written else written


def decode(written: str) -> str:
    """Return the text a string's characters stand for, one for one; half a surrogate pair stays half."""
    if "\\" not in written:
        return written
    return "".join(map(_decoded, characters(written)))


def _decoded(character: str) -> str:
    if character[0] != "\\":
        return character
    if character[1] != "u":
        return _SHORT.get(character[1], character[1])
    try:
        code = int(character[2:6], 16)
        if len(character) > len("\\u0000"):
            code = 0x10000 + ((code - 0xD800) << 10) + (int(character[8:12], 16) - 0xDC00)
    except ValueError:
        raise JsonUnreadableError from None
    return chr(code)
