"""Patterns for a linear-time engine, of finite width, each with the pattern of its own beginnings.

What a stream may let go of depends on what its last characters could still become. For every pattern there is a
second one that matches just the beginnings of the first one's matches; held against the end of a text it finds
the earliest character that may belong to a match still under way.
"""

import importlib
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import re2

from gateway.interceptors.errors import PatternRefusedError

WIDTH_MAX: Final = 256
# A bound for the automata of one policy; what does not fit is matched more slowly, and no less rightly.
_MEMORY_BYTES: Final = 32 << 20
# The parser of the standard library is the only one that tells a pattern's width; it has no public name.
Parsed: TypeAlias = Any
_parser: Final[Parsed] = importlib.import_module("re._parser")
_CATEGORIES: Final = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_NOT_DIGIT": r"\x00-/:-\x7f",
    "CATEGORY_SPACE": r"\t-\r ",
    "CATEGORY_NOT_SPACE": r"\x00-\x08\x0e-\x1f!-\x7f",
    "CATEGORY_WORD": "0-9A-Za-z_",
    "CATEGORY_NOT_WORD": r"\x00-/:-@\[-\^`{-\x7f",
}
_WORD_EDGES: Final = {"AT_BOUNDARY": r"\b", "AT_NON_BOUNDARY": r"\B"}


class Found(Protocol):
    """Where a pattern was found."""

    def start(self) -> int:
        """Return where it begins."""
        ...

    def end(self) -> int:
        """Return where it ends."""
        ...


class Compiled(Protocol):
    """A pattern the engine has compiled; the engine has no types of its own."""

    def search(self, text: bytes, pos: int = 0) -> Found | None:
        """Find the longest of the leftmost matches from `pos` on."""
        ...

    def match(self, text: bytes, pos: int = 0) -> Found | None:
        """Find the longest match that begins at `pos`."""
        ...

    def fullmatch(self, text: bytes) -> Found | None:
        """Match the text as a whole."""
        ...


class _UnsupportedError(Exception):
    """The pattern uses what has no place here; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, the pattern of its matches' beginnings, and the width of its longest match in characters."""

    whole: str
    beginning: str
    width: int


def compile_pattern(name: str, source: str) -> Pattern:
    """Read a pattern; raises PatternRefusedError where it is not of linear time and finite width."""
    if not source.isascii():
        raise PatternRefusedError(name, "it must be written in ASCII; digits and blanks of other scripts are folded")
    try:
        engine(source)
        parsed = _parser.parse(source, re.ASCII)
        width = _width(parsed)
        prefix = "(?i)" if parsed.state.flags & re.IGNORECASE else ""
        whole, beginning = f"(?:{prefix}{_sequence(parsed)})", f"(?:{prefix}{_beginning(list(parsed))})"
        engine(f"{whole}|{beginning}$")
    except (re2.error, re.error, OverflowError) as error:
        raise PatternRefusedError(name, "the linear-time engine does not take it") from error
    except _UnsupportedError as error:
        raise PatternRefusedError(name, str(error)) from None
    return Pattern(whole, beginning, width)


def _width(parsed: Parsed) -> int:
    if parsed.state.flags & ~(re.IGNORECASE | re.ASCII):
        raise _UnsupportedError("no flag but (?i) is supported")
    low, width = parsed.getwidth()
    if low == 0:
        raise _UnsupportedError("it matches the empty text")
    if width > WIDTH_MAX:
        raise _UnsupportedError(f"its matches may be longer than {WIDTH_MAX} characters")
    return int(width)


def engine(pattern: str) -> Compiled:
    """Compile for the engine."""
    compiled: Compiled = re2.compile(pattern.encode(), options())
    return compiled


def options() -> re2.Options:
    """Return how every pattern is compiled: the longest of the leftmost, bytes as they are, no output."""
    chosen = re2.Options()
    chosen.longest_match = True
    chosen.log_errors = False
    chosen.max_mem = _MEMORY_BYTES
    chosen.encoding = re2.Options.Encoding.LATIN1
    return chosen


def _sequence(nodes: Parsed) -> str:
    return "".join(_node(str(operator), argument) for operator, argument in nodes)


def _node(operator: str, argument: Parsed) -> str:
    said = ""
    match operator:
        case "LITERAL":
            said = f"\\x{argument:02x}"
        case "NOT_LITERAL":
            said = f"[^\\x{argument:02x}]"
        case "ANY":
            said = r"[^\n]"
        case "IN":
            said = _class(argument)
        case "BRANCH":
            said = "(?:" + "|".join(_sequence(branch) for branch in argument[1]) + ")"
        case "SUBPATTERN":
            said = f"(?:{_sequence(_plain(argument))})"
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, repeated = argument
            said = f"(?:{_sequence(repeated)}){{{low},{high}}}"
        case "AT" if str(argument) in _WORD_EDGES:
            said = _WORD_EDGES[str(argument)]
        case "AT":
            raise _UnsupportedError("a stream has no lines: ^ and $ are not supported")
        case _:
            raise _UnsupportedError("it looks around or back, which no linear-time engine does")
    return said


def _plain(argument: Parsed) -> Parsed:
    _, added, removed, nodes = argument
    if added or removed:
        raise _UnsupportedError("no flag but (?i) at its beginning is supported")
    return nodes


def _class(members: Parsed) -> str:
    inside, negated = [], ""
    for operator, argument in members:
        match str(operator):
            case "NEGATE":
                negated = "^"
            case "LITERAL":
                inside.append(f"\\x{argument:02x}")
            case "RANGE":
                inside.append(f"\\x{argument[0]:02x}-\\x{argument[1]:02x}")
            case _:
                inside.append(_CATEGORIES[str(argument)])
    return f"[{negated}{''.join(inside)}]"


def _beginning(nodes: list[Parsed]) -> str:
    """Return the pattern of all beginnings, the empty and the whole one among them."""
    said = ""
    for operator, argument in reversed(nodes):
        name = str(operator)
        if name == "AT":
            continue
        # Either it ends within this node, or the node is whole and what follows begins.
        after = f"|{_node(name, argument)}{said}" if said else ""
        said = f"(?:{_within(name, argument)}{after})"
    return said


def _within(name: str, argument: Parsed) -> str:
    match name:
        case "BRANCH":
            return "(?:" + "|".join(_beginning(list(branch)) for branch in argument[1]) + ")"
        case "SUBPATTERN":
            return _beginning(list(_plain(argument)))
        case "MAX_REPEAT" | "MIN_REPEAT":
            _, high, repeated = argument
            if high == 0:
                return ""
            return f"(?:(?:{_sequence(repeated)}){{0,{high - 1}}}{_beginning(list(repeated))})"
        case _:
            return f"(?:{_node(name, argument)})?"
