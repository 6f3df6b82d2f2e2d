"""What the load and the upstream agree on: one event of an agent, and how many of them an input asks for."""

from dataclasses import dataclass

import orjson

# Stands once in every event and in a whole answer, and nowhere else that a gateway may add.
MARK = b'"index":'
TEXT = "The quick brown fox jumps over the lazy dog, again and again. "


@dataclass(frozen=True, slots=True)
class Script:
    """What the agent is to do: so many events, the first at once, so many a second."""

    events: int
    per_s: float

    def to_json(self) -> bytes:
        """Return the script as an invocation's input."""
        return orjson.dumps({"events": self.events, "perS": self.per_s})

    @classmethod
    def of(cls, body: bytes) -> "Script":
        """Read an invocation's input."""
        asked = orjson.loads(body)
        return cls(asked["events"], asked["perS"])


def event(index: int) -> bytes:
    """Return an event's JSON: about 110 bytes, as a few tokens of an agent are."""
    return b'{%b%d,"type":"text_delta","text":"%b"}' % (MARK, index, TEXT.encode())


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)
