"""The bytes of an agent's event stream as events, wherever the network cut them.

An event's data is handed on untouched and unparsed: one that is a single `data: ` line, as the AgentCore SDK writes
them, costs two searches and a slice. Line ends may be LF, CRLF or CR; data never holds a CR. What waits for more
bytes is bounded by the limit of one event.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from agents.errors import AgentAnswerTooLargeError, StreamInterruptedError
from agents.inband import usage_of
from agents.invocation import AgentChunk, AgentError, AgentEvent

_LF: Final = ord("\n")
_COLON: Final = ord(":")
_PREFIX: Final = b"data: "
# How the SDK's error event ends and begins; only what looks like it is ever parsed.
_ERROR_HEAD: Final = b'{"error": '
_ERROR_TAIL: Final = b'"message": "An error occurred during streaming"}'
_ERROR_END: Final = _ERROR_TAIL + b"\n\n"
_ERROR_FIELDS: Final = frozenset({"error", "error_type", "message"})
_KIND_LIMIT: Final = 100
# A heartbeat is not looked into.
_USAGE_LEAST: Final = 16


class EventSplitter:
    """Splits one answer: `feed` it as bytes arrive, then `finish` it, and take all that each yields.

    An event may have `limit_bytes`, field names included; `feed` raises AgentAnswerTooLargeError in its place.
    """

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pending = bytearray()
        # Before this offset of the pending bytes there is no blank line.
        self._searched = 0
        self._after_cr = False
        # An error event is one only if it is the last: until the next event or the end, it may be ordinary data.
        self._held: bytes | None = None

    def feed(self, data: bytes) -> Iterable[AgentEvent]:
        """Return the events that these bytes complete; going through them may raise."""
        alone = self.alone(data)
        if alone is not None:
            return (AgentChunk(alone),)
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if self._pending:
            self._pending += data
            if self._pending.find(b"\n\n", self._searched) < 0 and not self._ends_comment():
                self._wait()
                return ()
            data = bytes(self._pending)
            self._pending.clear()
        return self._split(data)

    def alone(self, data: bytes) -> bytes | None:
        """Return the data of what is one plain event and nothing else, as nearly every read is; None if it is not.

        Feeding it would yield the same, and leave the splitter as it is.
        """
        plain = (
            data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n\n")
            and data.startswith(_PREFIX)
            and not self._pending
            and not self._after_cr
            and b"\r" not in data
            and self._held is None
            and len(data) - 2 <= self._limit_bytes
            and not data.endswith(_ERROR_END)
        )
        return data[len(_PREFIX) : -2] if plain else None

    def finish(self) -> Iterator[AgentEvent]:
        """Yield what the end of the answer completes; raises StreamInterruptedError if it ends inside a line."""
        if self._pending:
            if self._pending[-1] != _LF:
                raise StreamInterruptedError("the answer ends inside a line")
            yield from self._pass(_data_of(bytes(self._pending[:-1])))
            self._pending.clear()
        if self._held is not None:
            kind = _error_kind(self._held)
            yield AgentChunk(self._held) if kind is None else AgentError(kind)
            self._held = None

    def _with_lf(self, data: bytes) -> bytes:
        if not data:
            return data
        if self._after_cr and data[0] == _LF:
            data = data[1:]
            self._after_cr = False
            if not data:
                return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _ends_comment(self) -> bool:
        # A comment before an event is let go of at its line's end, so that heartbeats never fill the buffer.
        return self._pending[0] == _COLON and _LF in self._pending

    def _split(self, data: bytes) -> Iterator[AgentEvent]:
        at, size = 0, len(data)
        while (line_end := data.find(b"\n", at)) >= 0:
            if line_end == at or data[at] == _COLON:
                self._bound(line_end - at)
                usage = usage_of(data[at:line_end]) if line_end - at > _USAGE_LEAST else None
                if usage is not None:
                    yield usage
                at = line_end + 1
                continue
            single = line_end + 1 < size and data[line_end + 1] == _LF
            end = line_end if single else data.find(b"\n\n", line_end)
            if end < 0:
                break
            self._bound(end - at)
            plain = single and data.startswith(_PREFIX, at)
            yield from self._pass(data[at + len(_PREFIX) : end] if plain else _data_of(data[at:end]))
            at = end + 2
        self._pending += data[at:]
        self._wait()

    def _wait(self) -> None:
        # The last byte may be the first half of the blank line that ends the event.
        half = self._pending.endswith(b"\n")
        self._bound(len(self._pending) - half)
        self._searched = max(0, len(self._pending) - 1)

    def _bound(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            raise AgentAnswerTooLargeError

    def _pass(self, data: bytes | None) -> Iterator[AgentEvent]:
        if data is None:
            return
        if self._held is not None:
            yield AgentChunk(self._held)
            self._held = None
        if data.endswith(_ERROR_TAIL) and data.startswith(_ERROR_HEAD):
            self._held = data
        else:
            yield AgentChunk(data)


def _data_of(frame: bytes) -> bytes | None:
    """Return the data of an event of any shape, None if it has none."""
    lines = []
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None


def _error_kind(data: bytes) -> str | None:
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict) or told.keys() != _ERROR_FIELDS or not all(isinstance(v, str) for v in told.values()):
        return None
    kind: str = told["error_type"]
    return kind[:_KIND_LIMIT]
