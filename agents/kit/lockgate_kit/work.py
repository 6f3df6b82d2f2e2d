"""An author's code on its way: watched and stopped from any thread, on an event loop of its own.

The loop runs in a thread apart from the server's, so that a handler that blocks it delays neither pings nor
status. What Work reports as ended has really ended: its `finally` blocks have run.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from lockgate_kit.turn import Turn


class StoppedError(Exception):
    """The work was stopped on request."""

    def __init__(self) -> None:
        super().__init__("stopped on request")


class WorkLoop:
    """The event loop of the handlers, started at first use: an agent may be imported, then forked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the running loop."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="lockgate-kit", daemon=True).start()
            return self._loop


class Work:
    """One unit of work and its outcome: a result, StoppedError, or what the handler raised."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run a coroutine function on the loop, in the calling thread's context variables."""
        self._loop = loop
        loop.call_soon_threadsafe(self._begin, work)

    def run_here(self, function: Callable[[], Any]) -> None:
        """Run a plain function in the calling thread, to its end."""
        try:
            result = function()
        except (SystemExit, KeyboardInterrupt) as error:
            self.outcome.set_exception(_contained(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            self.outcome.set_exception(StoppedError() if self.turn.stopping else error)
        else:
            self.outcome.set_result(result)

    def stop(self) -> None:
        """Ask for the end: a coroutine is cancelled at once, a plain function finds `turn.stopping` set."""
        self.turn.ask_to_stop()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def wait(self, timeout_s: float) -> None:
        """Return when the work has ended, or after `timeout_s`."""
        concurrent.futures.wait([self.outcome], timeout_s)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._task = asyncio.get_running_loop().create_task(_run(work))
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.outcome.set_exception(StoppedError())
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


async def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401 - the author's own value
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt) as error:
        raise _contained(error) from error


def _contained(error: BaseException) -> RuntimeError:
    # Let through, it would end the thread it is raised in, and with it every other piece of work.
    return RuntimeError(f"the handler raised {type(error).__name__}")
