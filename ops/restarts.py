"""When a worker that ended by itself is started again, and when no more."""

from typing import Final

from ops.errors import CrashLoopError

# A worker that lived this long had no trouble starting: its end begins a new count.
STEADY_S: Final = 60.0
FIRST_S: Final = 0.25
LIMIT: Final = 5


class Restarts:
    """The ends of one place's workers."""

    def __init__(self) -> None:
        self._row = 0

    def pause_s(self, lived_s: float) -> float:
        """Return the seconds to wait before the next start; raises CrashLoopError.

        The first is at once, each further one of a row waits twice as long.
        """
        self._row = 1 if lived_s >= STEADY_S else self._row + 1
        if self._row >= LIMIT:
            raise CrashLoopError(f"a worker ended {self._row} times in a row; its log says why")
        return 0.0 if self._row == 1 else FIRST_S * 2 ** (self._row - 2)
