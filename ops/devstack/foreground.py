"""`lockgate dev up`: one stack in the foreground of a terminal, from the first line to the last.

The first signal ends the stack in order, a second one at once. The exit code is 0 once it was up, 130 when it was
interrupted before that, 1 when a part failed.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from ops.devstack.layout import Layout
from ops.devstack.leftovers import adopt_orphans, end_leftovers, kill_children
from ops.devstack.plan import NAMES
from ops.devstack.ports import Ports
from ops.devstack.process import PartFailedError
from ops.devstack.screen import Screen
from ops.devstack.show import Show, ShowFailedError
from ops.devstack.stack import Stack, running_stack
from ops.devstack.summary import summary
from ops.settings import DevSettings
from tenancy.clock import Clock
from tenancy.ids import TenantId

_SHOWN: Final = TenantId("acme")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Foreground:
    """One stack and its terminal."""

    def __init__(self, layout: Layout, settings: DevSettings, screen: Screen, clock: Clock) -> None:
        self._layout: Final = layout
        self._settings: Final = settings
        self._screen: Final = screen
        self._clock: Final = clock
        self._was_up = False
        self._interrupted = False

    async def run(self) -> int:
        """Live until interrupted and return the exit code; raises what `running_stack` raises but a part's failure."""
        adopt_orphans()
        # What the seed has to tell is in its step's line; a log line would run through the drawing.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        life = asyncio.create_task(self._live())
        with _on_signal(lambda: self._interrupt(life)):
            try:
                await life
            except PartFailedError as error:
                self._screen.explain(error)
                return 1
            except asyncio.CancelledError:
                if not self._interrupted:
                    raise
            finally:
                end_leftovers()
        self._screen.say("everything is stopped" if self._was_up else "interrupted: everything is stopped")
        return 0 if self._was_up else 130

    async def _live(self) -> None:
        ports = Ports.documented(self._settings.port_offset)
        with self._screen.starting_up(NAMES) as started:
            async with running_stack(
                self._layout.state, ports, watcher=self._screen, settings=self._settings, clock=self._clock
            ) as stack:
                self._was_up = True
                started()
                await self._show(stack)
                await asyncio.Event().wait()

    async def _show(self, stack: Stack) -> None:
        token = stack.tenants[_SHOWN].token
        self._screen.title(f"{_SHOWN} asks echo-agent in its three modes")
        try:
            receiver = stack.ports.url("receiver")
            await Show(stack.gateway, token, receiver, console=self._screen.console, clock=self._clock).run()
        except ShowFailedError as error:
            self._screen.show_failed(error)
        if stack.dev is not None:
            self._screen.lines(summary(stack.dev, self._layout, _SHOWN))

    def _interrupt(self, life: asyncio.Task[None]) -> None:
        if self._interrupted:
            kill_children()
            return
        self._interrupted = True
        self._screen.say("\nstopping …")
        life.cancel()


@contextlib.contextmanager
def _on_signal(act: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
