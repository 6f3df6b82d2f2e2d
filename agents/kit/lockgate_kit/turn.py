"""What a handler is given besides its input: how to report, and whether it has been asked to stop.

Safe to use from any thread. Nothing of it comes from the input, so a tenant cannot forge it.
"""

import threading
from dataclasses import dataclass

from lockgate_kit.tools import ToolDoor

MESSAGE_LIMIT = 500


@dataclass(frozen=True)
class Usage:
    """Tokens a model has charged for so far."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    percent: int
    message: str | None = None


class Turn:
    """One call of a handler. `ref` is the platform's id for it, None when called without Lockgate."""

    def __init__(self, ref: str | None, session_id: str | None, tools: ToolDoor | None = None) -> None:
        self.ref = ref
        self.session_id = session_id
        # Where it may call tools for the tenant; None for an agent without tools, and outside Lockgate.
        self.tools = tools
        self._stop_asked = threading.Event()
        self._lock = threading.Lock()
        self._usage: Usage | None = None

    @property
    def stopping(self) -> bool:
        """Tell whether a stop was asked for.

        Coroutines are cancelled, they need not look. A plain function cannot be interrupted: it should look here
        between steps, and return or raise.
        """
        return self._stop_asked.is_set()

    def usage(self, *, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """Add tokens used; call it once per model call. Raises ValueError for a negative number."""
        if input_tokens < 0 or output_tokens < 0:
            raise ValueError("token counts cannot be negative")
        with self._lock:
            so_far = self._usage or Usage()
            self._usage = Usage(so_far.input_tokens + input_tokens, so_far.output_tokens + output_tokens)

    @property
    def used(self) -> Usage | None:
        """The sum of what was reported, None when nothing was."""
        return self._usage

    def ask_to_stop(self) -> None:
        """Set `stopping`; the kit calls it."""
        self._stop_asked.set()


class Job(Turn):
    """One run of a job handler. It goes on after the request that started it was answered."""

    def __init__(self, ref: str | None, session_id: str | None, tools: ToolDoor | None = None) -> None:
        super().__init__(ref, session_id, tools)
        self._progress: Progress | None = None

    def progress(self, percent: float, message: str | None = None) -> None:
        """Tell how far the job is: 0 to 100 (kept within), and a sentence of at most 500 characters (cut)."""
        self._progress = Progress(min(max(int(percent), 0), 100), None if message is None else message[:MESSAGE_LIMIT])

    @property
    def reached(self) -> Progress | None:
        """The last progress reported, None before the first."""
        return self._progress
