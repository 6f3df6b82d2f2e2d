"""Reads the texts of a stream's events, each with its path, the quickest way that misses none.

An ordinary event is read by orjson. One with escapes, with a name twice, or with what must be looked at by itself (a
large whole number, a key that was not seen before and is not clean) is read token by token.
"""

from typing import Final

import orjson

from gateway.interceptors.errors import InterceptorFailedError
from gateway.interceptors.folding import fold
from gateway.interceptors.held_event import HeldEvent
from gateway.interceptors.json_text import JsonUnreadableError, decode
from gateway.interceptors.rules import NAME, Rules, number_kind

_PATHS_MAX: Final = 1024
_BY_TOKENS: Final = -1
# The shortest number that gives anything away has ten digits.
_NUMBER_MIN: Final = 10**9


class EventReader:
    """Reads one stream's events; remembers the paths it has seen."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._paths: dict[tuple[str, str], str] = {}

    def read(self, event: HeldEvent) -> list[tuple[str, str]]:
        """Return (path, text) of every string value in order, and note what is changed in keys and numbers.

        Raises RedactionBlockedError, and InterceptorFailedError where the event is no JSON.
        """
        raw = event.raw
        # With no backslash escaped, each one before a quote escapes that quote.
        if b"\\\\" not in raw:
            texts: list[tuple[str, str]] = []
            try:
                keys = self._walk(orjson.loads(raw), "", texts)
            except (orjson.JSONDecodeError, RecursionError):
                keys = _BY_TOKENS
            quotes = raw.count(b'"') - raw.count(b'\\"')
            # orjson keeps the last of two members of one name: the first one's text must not go unseen.
            if keys >= 0 and quotes == 2 * (keys + len(texts)):
                return texts
        return self._read_tokens(event)

    def _walk(self, value: object, path: str, texts: list[tuple[str, str]]) -> int:
        """Collect the texts below a value; return the number of keys, or _BY_TOKENS."""
        if isinstance(value, str):
            texts.append((path, value))
        elif isinstance(value, dict):
            keys = len(value)
            for key, member in value.items():
                below = self._paths.get((path, key)) or self._path(path, key)
                counted = self._walk(member, below, texts) if below else _BY_TOKENS
                if counted < 0:
                    return _BY_TOKENS
                keys += counted
            return keys
        elif isinstance(value, list):
            keys = 0
            for member in value:
                counted = self._walk(member, path, texts)
                if counted < 0:
                    return _BY_TOKENS
                keys += counted
            return keys
        elif isinstance(value, int) and value >= _NUMBER_MIN and number_kind(str(value)) is not None:
            return _BY_TOKENS
        return 0

    def _path(self, parent: str, key: str) -> str:
        """Return a member's path, empty where its key holds what must not pass."""
        if self._rules.scanner.scan(fold(key), 0, last=True)[0]:
            return ""
        if len(self._paths) >= _PATHS_MAX:
            self._paths.clear()
        path = self._paths[parent, key] = f"{parent}/{key}"
        return path

    def _read_tokens(self, event: HeldEvent) -> list[tuple[str, str]]:
        try:
            document, found = event.document()
            texts = []
            for token in found:
                if token.kind == "string":
                    texts.append((token.path, decode(document[token.start : token.end])))
                elif (put := self._rules.put(document, token)) is not None:
                    event.puts[token.start] = put
        except JsonUnreadableError:
            raise InterceptorFailedError(NAME) from None
        return texts
