"""Text as the patterns see it: an ASCII byte for each character that shows, none for one that does not.

Digits of every script are digits, full-width letters are letters, every dash is a hyphen, every blank a space, every
end of a line a line feed. Letters of the Latin, Greek and Cyrillic alphabets stand for some letter; any other
character for none. Characters that do not show are left out: those without a width, those that other characters wear,
and controls. Of very many in a row the first few are left out and the others stand for a character each, so that what
a match may hold is bounded.
"""

import re
import unicodedata
from typing import Final, NamedTuple

LETTER: Final = "x"
OTHER: Final = "\x01"
# So many in a row are left out.
UNSEEN_MAX: Final = 16
_UNSEEN: Final = "\x00"
_UNSEEN_RUN: Final = re.compile(rb"\x00+")
_ALPHABETS: Final = range(0x00AA, 0x0530)
_FULL_WIDTH: Final = range(0xFF01, 0xFF5F)
# What Unicode calls default-ignorable and its categories do not tell: fillers, and what is not assigned yet.
_IGNORABLE: Final = frozenset(
    (0x115F, 0x1160, 0x2065, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000))
)
# Formats, controls, and marks that sit on the character before them.
_UNSEEN_CATEGORIES: Final = frozenset({"Cf", "Cc", "Mn", "Me"})
_LINE_ENDS: Final = "\u0085\u2028\u2029"
_DOTS: Final = "\u3002\uff61\u2024\u00b7\u2219\u30fb\u2022\u2027\u22c5"
_DASHES: Final = "\u2212\u2043\u02d7\u2796\u2500"
_SLASHES: Final = "\u2044\u2215\u29f8\u2571"
_BRAILLE_BLANK: Final = "\u2800"
_MARKS: Final = (
    dict.fromkeys(_LINE_ENDS, "\n")
    | dict.fromkeys(_DOTS, ".")
    | dict.fromkeys(_DASHES, "-")
    | dict.fromkeys(_SLASHES, "/")
    | {_BRAILLE_BLANK: " "}
)
# Dashes and blanks.
_CATEGORIES: Final = {"Pd": "-", "Zs": " "}
# Controls that show, as blanks.
_SPACING: Final = range(0x09, 0x0E)
_CONTROLS: Final = bytes(code for code in (*range(0x20), 0x7F) if code not in _SPACING)


class Folded(NamedTuple):
    """A text, folded."""

    text: bytes
    # Of each byte, which character it stands for; None where each character has its byte.
    places: list[int] | None
    # How many characters that do not show stand at the end.
    unseen: int


class _Folding(dict[int, str]):
    """Maps a code point to its ASCII character, worked out once for each."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold(code)
        return folded


def _fold(code: int) -> str:
    character = chr(code)
    category = unicodedata.category(character)
    marked = _MARKS.get(character) or _CATEGORIES.get(category)
    if marked is not None:
        return marked
    if code in _FULL_WIDTH:
        return chr(code - 0xFEE0)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if code in _IGNORABLE or category in _UNSEEN_CATEGORIES:
        return _UNSEEN
    plain = unicodedata.normalize("NFKC", character)
    if len(plain) == 1 and plain != character:
        return _TABLE[ord(plain)]
    return LETTER if category[0] == "L" and code in _ALPHABETS else OTHER


_TABLE: Final = _Folding(
    {code: chr(code) for code in range(0x80)} | dict.fromkeys(_CONTROLS, _UNSEEN),
)


def fold(text: str, unseen: int = 0) -> Folded:
    """Fold a text; `unseen` characters that do not show stand right before it."""
    if text.isascii():
        plain = text.encode()
        if len(plain.translate(None, _CONTROLS)) == len(plain):
            return Folded(plain, None, 0 if plain else unseen)
    marked = text.translate(_TABLE).encode()
    return _left_out(marked, unseen) if b"\x00" in marked else Folded(marked, None, 0)


def _left_out(marked: bytes, unseen: int) -> Folded:
    parts: list[bytes] = []
    places: list[int] = []
    at = 0
    for run in _UNSEEN_RUN.finditer(marked):
        start, end = run.span()
        free = max(UNSEEN_MAX - unseen, 0) if start == 0 else UNSEEN_MAX
        first_seen = min(start + free, end)
        parts += (marked[at:start], OTHER.encode() * (end - first_seen))
        places += (*range(at, start), *range(first_seen, end))
        at = end
    parts.append(marked[at:])
    places += range(at, len(marked))
    at_end = len(marked) - len(marked.rstrip(b"\x00"))
    return Folded(b"".join(parts), places, at_end + (unseen if at_end == len(marked) else 0))
