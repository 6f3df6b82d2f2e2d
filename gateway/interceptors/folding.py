"""Text as the patterns see it: one ASCII byte a character, so that offsets in both are the same.

Digits of every script are digits, full-width letters are letters, every dash is a hyphen and every blank a space.
Characters without a width become hyphens, as a separator would be. Letters of the Latin, Greek and Cyrillic
alphabets stand for some letter; any other character for none.
"""

import unicodedata
from typing import Final

LETTER: Final = "x"
OTHER: Final = "\x01"
_ALPHABETS: Final = range(0x00AA, 0x0530)
_FULL_WIDTH: Final = range(0xFF01, 0xFF5F)
_WIDTHLESS: Final = (0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x2060, 0x2065), 0xFEFF)
_DOTS: Final = "\u3002\uff61\u2024\u00b7\u2219\u30fb"
_MINUS: Final = "\u2212"
_MARKS: Final = {_MINUS: "-"} | dict.fromkeys(map(chr, _WIDTHLESS), "-") | dict.fromkeys(_DOTS, ".")
# Dashes and blanks.
_CATEGORIES: Final = {"Pd": "-", "Zs": " "}


class _Folding(dict[int, str]):
    """Maps a code point to its ASCII character, worked out once for each."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold(code)
        return folded


def _fold(code: int) -> str:
    character = chr(code)
    category = unicodedata.category(character)
    if code in _FULL_WIDTH:
        return chr(code - 0xFEE0)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    folded = _MARKS.get(character) or _CATEGORIES.get(category)
    if folded is not None:
        return folded
    plain = unicodedata.normalize("NFKC", character)
    if len(plain) == 1 and plain.isascii():
        return plain
    return LETTER if category[0] == "L" and code in _ALPHABETS else OTHER


_TABLE: Final = _Folding({code: chr(code) for code in range(0x80)})


def fold(text: str) -> bytes:
    """Return one ASCII byte for each character of the text."""
    if text.isascii():
        return text.encode()
    return text.translate(_TABLE).encode()
