"""Reads the texts of a stream's events, each with its path, the quickest way that misses none.

An ordinary event is read by orjson. One with escapes, with a name twice, or with what must be looked at by itself (a
large whole number, a key that was not seen before and is not clean) is read token by token.
"""

from typing import Final

import orjson

from gateway.interceptors.errors import InterceptorFailedError
from gateway.interceptors.held_event import HeldEvent
from gateway.interceptors.json_text import JsonUnreadableError, decode
from gateway.interceptors.rules import NAME, Rules, number_kind

_PATHS_MAX: Final = 1024
_BY_TOKENS: Final = -1
# The shortest number that gives anything away has ten digits.
_NUMBER_MIN: Final = 10**9


class _Place:
    """A path, and those of the members below it."""

    __slots__ = ("below", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.below: dict[str, _Place] = {}


class EventReader:
    """Reads one stream's events; remembers the paths it has seen."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._root = _Place("")
        self._places = 0

    def read(self, event: HeldEvent) -> list[tuple[str, str]]:
        """Return (path, text) of every string value in order, and note what is changed in keys and numbers.

        Raises RedactionBlockedError, and InterceptorFailedError where the event is no JSON.
        """
        raw = event.raw
        quotes = raw.count(b'"')
        if b"\\" in raw:
            # With no backslash escaped, each one before a quote escapes that quote.
            quotes = -1 if b"\\\\" in raw else quotes - raw.count(b'\\"')
        if quotes >= 0:
            texts: list[tuple[str, str]] = []
            try:
                keys = self._value(orjson.loads(raw), self._root, texts)
            except (orjson.JSONDecodeError, RecursionError):
                keys = _BY_TOKENS
            # orjson keeps the last of two members of one name: the first one's text must not go unseen.
            if keys >= 0 and quotes == 2 * (keys + len(texts)):
                return texts
        return self._read_tokens(event)

    def _walk(self, members: dict[str, object], place: _Place, texts: list[tuple[str, str]]) -> int:
        """Collect the texts of an object; return the number of keys, or _BY_TOKENS."""
        keys, below = len(members), place.below
        for key, member in members.items():
            inner = below.get(key) or self._place(place, key)
            if inner is None:
                return _BY_TOKENS
            if isinstance(member, str):
                texts.append((inner.path, member))
            elif isinstance(member, dict):
                counted = self._walk(member, inner, texts)
                if counted < 0:
                    return _BY_TOKENS
                keys += counted
            elif member is not None:
                counted = self._value(member, inner, texts)
                if counted < 0:
                    return _BY_TOKENS
                keys += counted
        return keys

    def _value(self, value: object, place: _Place, texts: list[tuple[str, str]]) -> int:
        """Do the same for any value."""
        keys = 0
        if isinstance(value, int):
            if not -_NUMBER_MIN < value < _NUMBER_MIN and number_kind(str(value)) is not None:
                keys = _BY_TOKENS
        elif isinstance(value, dict):
            keys = self._walk(value, place, texts)
        elif isinstance(value, str):
            texts.append((place.path, value))
        elif isinstance(value, list):
            for member in value:
                counted = self._value(member, place, texts)
                if counted < 0:
                    return _BY_TOKENS
                keys += counted
        return keys

    def _place(self, parent: _Place, key: str) -> _Place | None:
        """Return a member's place, None where its key holds what must not pass."""
        if self._rules.scanner.whole(key):
            return None
        if self._places >= _PATHS_MAX:
            self._root.below.clear()
            self._places = 0
        self._places += 1
        place = parent.below[key] = _Place(f"{parent.path}/{key}")
        return place

    def _read_tokens(self, event: HeldEvent) -> list[tuple[str, str]]:
        try:
            document, found = event.document()
            texts = []
            for token in found:
                if token.kind == "string":
                    texts.append((token.path, decode(document[token.start : token.end])))
                elif (put := self._rules.put(document, token)) is not None:
                    event.put(token.start, put)
        except JsonUnreadableError:
            raise InterceptorFailedError(NAME) from None
        return texts
