"""What is held for a block: an async context manager made of how it begins and how it ends.

For what every request holds: a generator for the same costs several times as much, for the event loop keeps account of
each. What the beginning does before it fails it has to undo itself.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Held(AbstractAsyncContextManager[T], Generic[T]):
    """Awaits the beginning, which returns what is held and how that ends, and ends it when the block is left."""

    __slots__ = ("_begin", "_end")

    def __init__(self, begin: Awaitable[tuple[T, Callable[[], None]]]) -> None:
        self._begin = begin
        self._end: Callable[[], None] | None = None

    async def __aenter__(self) -> T:
        """Begin."""
        held, self._end = await self._begin
        return held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, however the block was left."""
        if self._end is not None:
            self._end()
