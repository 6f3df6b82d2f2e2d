"""An event stream as a browser reads it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
from aiohttp import StreamReader


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    id: int
    name: str
    data: str

    @property
    def json(self) -> dict[str, object]:
        """The data, parsed."""
        loaded: dict[str, object] = orjson.loads(self.data)
        return loaded


async def events_of(content: StreamReader) -> AsyncIterator[Event]:
    """Yield events until the stream ends; comments are passed over."""
    fields: dict[str, str] = {}
    async for raw in content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(int(fields["id"]), fields["event"], fields["data"])
            fields = {}
