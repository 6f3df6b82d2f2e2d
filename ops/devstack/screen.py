"""What the terminal shows: parts as they come up, what the agent answered, and what dies.

On a terminal a part's line changes while it starts; anywhere else each event is one plain line, once. A terminal
that has gone away stops nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ops.alarms.watch import AlarmState
from ops.devstack.layout import Layout
from ops.devstack.process import PartFailedError
from ops.devstack.show import ShowFailedError
from tenancy.clock import Clock

_TAIL_LINES: Final = 8
_TAIL_BYTES: Final = 8_192


class Screen:
    """A Watcher that draws; `command` is `lockgate dev` as another terminal has to type it."""

    def __init__(self, console: Console, layout: Layout, *, clock: Clock, command: str) -> None:
        self.console: Final = console
        self._layout: Final = layout
        self._clock: Final = clock
        self._command: Final = command
        self._live: Live | None = None
        self._drawing = False
        self._ending = False
        self._rows: Final[dict[str, tuple[RenderableType, Text]]] = {}

    @contextlib.contextmanager
    def starting_up(self, names: tuple[str, ...]) -> Iterator[Callable[[], None]]:
        """Draw the parts as they start until the yielded function says that all are up, or until left."""
        began = self._clock.monotonic()
        self._rows.update({name: (Text("·", "dim"), Text()) for name in names})
        # Drawn from the first part on: a refusal to start anything stands alone.
        self._drawing = self.console.is_terminal

        def started() -> None:
            self._freeze()
            self.say(f"  up in {self._clock.monotonic() - began:.1f} s")

        try:
            yield started
        finally:
            self._freeze()

    def starting(self, part: str) -> None:
        """Draw a spinner."""
        self._draw(part, Spinner("dots", style="cyan"), Text())

    def ready(self, part: str, seconds: float) -> None:
        """Draw the time it took."""
        self._draw(part, Text("✓", "green"), Text(f"{seconds:4.1f} s", "dim"))
        if self._live is None:
            self.say(f"  {part:<8} ready in {seconds:.1f} s")

    def failed(self, part: str) -> None:
        """Draw a cross; `explain` says why."""
        self._draw(part, Text("✗", "red"), Text("failed", "red"))

    def died(self, part: str, status: str) -> None:
        """Report a death with the last lines of the part's log and the way back, unless everything ends."""
        if self._ending:
            return
        self.lines(
            [
                Text.assemble(("\n✗ ", "red"), (part, "bold red"), f" died ({status})"),
                *self._tail(part),
                Text.assemble("  bring it back:  ", (f"{self._command} start {part}", "bold")),
            ]
        )

    def stopped(self, part: str) -> None:
        """Say that a part has ended as asked, unless everything has."""
        if not self._ending:
            self.say(f"  {part:<8} stopped")

    def rang(self, alarm: AlarmState) -> None:
        """Report an alarm and its runbook, and that it is over."""
        if self._ending:
            return
        if not alarm.ringing:
            self.say(f"  alarm {alarm.name} is over")
            return
        self.lines(
            [
                Text.assemble(("\n! ", "yellow"), (alarm.name, "bold yellow"), f" ({alarm.severity}): {alarm.says}"),
                Text.assemble("  what to do:  ", (f"lockgate runbook show {alarm.runbook}", "bold")),
            ]
        )

    def ending(self) -> None:
        """Stop drawing: from now on parts end because all do."""
        self._ending = True
        self._freeze()

    def explain(self, error: PartFailedError) -> None:
        """Say which part kept the stack from starting, with the end of its log and what to do."""
        self.lines(
            [
                Text.assemble(("\n✗ ", "red"), (error.part, "bold red"), " did not start"),
                *self._tail(error.part),
                Text.assemble("  to do:  ", (error.fix, "bold")),
                Text("  everything else is stopped again"),
            ]
        )

    def show_failed(self, error: ShowFailedError) -> None:
        """Say that the agent did not answer; the stack stays up to be looked at."""
        self.lines(
            [
                Text.assemble(("\n✗ ", "red"), str(error)),
                *self._tail("gateway"),
                Text(f"  the stack stays up: `{self._command} status` and the logs tell more"),
            ]
        )

    def title(self, text: str) -> None:
        """Print a heading."""
        self.lines([Text(f"\n{text}", "bold")])

    def say(self, text: str) -> None:
        """Print one line as it is."""
        self.lines([Text(text)])

    def lines(self, lines: list[Text]) -> None:
        """Print lines as they are, however long."""
        with contextlib.suppress(OSError):
            for line in lines:
                self.console.print(line, soft_wrap=True)

    def _draw(self, part: str, mark: RenderableType, time: Text) -> None:
        self._rows[part] = (mark, time)
        if self._live is not None:
            self._live.update(self._table())
        elif self._drawing:
            self._live = Live(self._table(), console=self.console, refresh_per_second=12.5)
            self._live.start()

    def _freeze(self) -> None:
        """Leave the table as it is and stop redrawing it; what still span never came up."""
        self._drawing = False
        if self._live is None:
            return
        for part, (mark, time) in self._rows.items():
            if isinstance(mark, Spinner):
                self._rows[part] = (Text("-", "dim"), time)
        with contextlib.suppress(OSError):
            self._live.update(self._table())
            self._live.stop()
        self._live = None

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, (mark, time) in self._rows.items():
            table.add_row("", mark, name, time)
        return table

    def _tail(self, part: str) -> list[Text]:
        log = self._layout.log(part)
        try:
            content = log.read_bytes()
        except OSError:
            return []
        last = content[-_TAIL_BYTES:].decode(errors="replace").splitlines()[-_TAIL_LINES:]
        heading = f"  the end of {log}:" if last else f"  {log} is empty"
        return [Text(heading, "dim"), *(Text(f"    {line}", "dim") for line in last)]
