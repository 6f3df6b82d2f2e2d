"""Events as they stand in a stream's log: framed, numbered without a gap, many in one piece.

A frame holds no blank line but the one that ends it (`gateway.sse.frame`), so a piece is cut without being parsed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_ID: Final = b"id: "
_END: Final = b"\n\n"
_TERMINAL: Final = (b"invocation.completed", b"invocation.failed", b"invocation.cancelled")


@dataclass(frozen=True, slots=True)
class Frames:
    """The events with the ids `first` to `last`."""

    first: int
    last: int
    data: bytes

    @classmethod
    def ending(cls, last: int, data: bytes) -> "Frames":
        """Return a piece whose first id stands in its bytes."""
        return cls(int(data[len(_ID) : data.index(b"\n")]), last, data)

    @property
    def ends(self) -> bool:
        """Whether nothing follows."""
        before = self.data.rfind(_END, 0, -len(_END))
        name = self.data.find(b"\nevent: ", max(0, before))
        return self.data.startswith(_TERMINAL, name + len(b"\nevent: "))

    def after(self, number: int) -> "Frames | None":
        """Return what comes after an event; None where nothing does."""
        if number >= self.last:
            return None
        if number < self.first:
            return self
        rest = self.data.split(_END, number - self.first + 1)[-1]
        return Frames(number + 1, self.last, rest)


def joined(pieces: Iterable[Frames], after: int) -> Frames | None:
    """Return, in one piece, what follows an event without a gap; None where that is nothing.

    The pieces come in order; they may overlap, for then they hold the same.
    """
    found: list[bytes] = []
    last = after
    for piece in pieces:
        rest = piece.after(last)
        if rest is None:
            continue
        if rest.first > last + 1:
            break
        found.append(rest.data)
        last = rest.last
    return Frames(after + 1, last, b"".join(found)) if found else None
