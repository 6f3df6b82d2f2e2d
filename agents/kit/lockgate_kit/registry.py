"""The work an agent process knows by its ref: turns while they run, jobs until the process ends.

A ref is started at most once, however often it is asked for, and never after it was stopped. What is kept of ended
work is bounded: the last `KEPT` jobs, the last `KEPT` stopped refs, the last `KEPT_STREAMS` turns' events.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from lockgate_kit.streams import Channel
from lockgate_kit.work import Work

KEPT = 100
KEPT_STREAMS = 8


class Registry:
    """Refs and their work; every method may be called from any thread."""

    def __init__(self) -> None:
        self._boot_id: str | None = None
        self._lock = threading.Lock()
        self._turns: dict[str, Work] = {}
        self._jobs: OrderedDict[str, Work] = OrderedDict()
        self._stopped: OrderedDict[str, None] = OrderedDict()
        self._streams: OrderedDict[str, tuple[Work, Channel]] = OrderedDict()

    @property
    def boot_id(self) -> str:
        """Tells a caller whether it still speaks to the process that started its job.

        Made at first use, not at import: processes forked after the import must not share it.
        """
        with self._lock:
            if self._boot_id is None:
                self._boot_id = secrets.token_hex(8)
            return self._boot_id

    def find(self, ref: str) -> Work | None:
        """Return the job or the running turn of that ref."""
        with self._lock:
            return self._jobs.get(ref) or self._turns.get(ref)

    def add_turn(self, ref: str, work: Work) -> bool:
        """Register a turn until it ends; False if the ref is running or was stopped before it came."""
        with self._lock:
            if ref in self._turns or ref in self._stopped:
                return False
            self._turns[ref] = work
        work.outcome.add_done_callback(lambda _: self._turns.pop(ref, None))
        return True

    def add_stream(self, ref: str, work: Work, channel: Channel) -> None:
        """Register a turn's events: until it ends, and a while longer for who may not have had its end."""
        with self._lock:
            self._streams[ref] = (work, channel)
            ended = [each for each, (work, _) in self._streams.items() if work.outcome.done()]
            for each in ended[: max(0, len(ended) - KEPT_STREAMS)]:
                del self._streams[each]

    def stream(self, ref: str) -> Channel | None:
        """Return a turn's events."""
        with self._lock:
            found = self._streams.get(ref)
        return None if found is None else found[1]

    def forget_stream(self, ref: str) -> None:
        """Keep a turn's events no longer."""
        with self._lock:
            self._streams.pop(ref, None)

    def start_job(self, ref: str, start: Callable[[], Work]) -> Work | None:
        """Return the ref's job, started now if it is new; None if it was stopped before it came."""
        with self._lock:
            if ref in self._jobs:
                return self._jobs[ref]
            if ref in self._stopped:
                return None
            self._jobs[ref] = work = start()
            self._forget_old_jobs()
        return work

    def stop(self, ref: str) -> Work | None:
        """Stop the ref's work, now and for the future; return it if there is any."""
        with self._lock:
            self._stopped[ref] = None
            while len(self._stopped) > KEPT:
                self._stopped.popitem(last=False)
            work = self._jobs.get(ref) or self._turns.get(ref)
        if work is not None and not work.outcome.done():
            work.stop()
        return work

    def _forget_old_jobs(self) -> None:
        ended = [ref for ref, job in self._jobs.items() if job.outcome.done()]
        for ref in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[ref]
