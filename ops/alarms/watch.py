"""The watch: keeps what was read for as long as any alarm looks back, and says which alarms ring."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from pydantic import BaseModel, ConfigDict

from ops.alarms.catalogue import Alarm, Condition, Level, Portion, Rise, Severity, Share, Wrong, longest_s
from ops.alarms.readings import Reading, read, rise
from tenancy.clock import Clock
from tenancy.errors import LockgateError


class AlarmUnknownError(LockgateError):
    """No alarm of the catalogue is called so."""

    code = "alarm_unknown"


class AlarmState(BaseModel):
    """How an alarm stands; `found` is what its conditions came to, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    severity: Severity
    runbook: str
    says: str
    ringing: bool
    since: datetime | None
    found: tuple[str, ...]


@dataclass(slots=True)
class _Standing:
    """What the watch remembers of an alarm."""

    held_since_s: float | None = None
    rings_since: datetime | None = None
    # Before this nothing counts: somebody has seen to it.
    seen_s: float = float("-inf")


class Watch:
    """Watches processes, named with the base URLs of their private ports."""

    def __init__(self, alarms: tuple[Alarm, ...], ports: Mapping[str, str], clock: Clock) -> None:
        self._alarms: Final = {alarm.name: alarm for alarm in alarms}
        self._ports: Final = ports
        self._clock: Final = clock
        self._kept_s: Final = longest_s()
        self._readings: Final[deque[Reading]] = deque()
        self._standing: Final = {alarm.name: _Standing() for alarm in alarms}

    async def look(self) -> tuple[AlarmState, ...]:
        """Read every process and return how each alarm stands now."""
        return self.take(await read(self._ports, self._clock.monotonic()))

    def take(self, reading: Reading) -> tuple[AlarmState, ...]:
        """Take a reading and return how each alarm stands."""
        self._readings.append(reading)
        # One that is older than all windows stays: rises begin at it.
        while len(self._readings) > 1 and self._readings[1].at_s < reading.at_s - self._kept_s:
            self._readings.popleft()
        return tuple(self._judge(alarm, reading.at_s) for alarm in self._alarms.values())

    def seen(self, name: str) -> None:
        """Let an alarm that counts begin anew; raises AlarmUnknownError. One that only looks rings on."""
        if name not in self._standing:
            raise AlarmUnknownError(f"no alarm is called {name!r}; `lockgate alarms list` shows all")
        self._standing[name].seen_s = self._clock.monotonic()

    def _judge(self, alarm: Alarm, now_s: float) -> AlarmState:
        standing = self._standing[alarm.name]
        verdicts = [self._holds(one, now_s, standing.seen_s) for one in alarm.when]
        if all(holds for holds, _ in verdicts):
            standing.held_since_s = now_s if standing.held_since_s is None else standing.held_since_s
        else:
            standing.held_since_s = None
        ringing = standing.held_since_s is not None and now_s - standing.held_since_s >= alarm.for_s
        if not ringing:
            standing.rings_since = None
        elif standing.rings_since is None:
            standing.rings_since = self._clock.now()
        return AlarmState(
            name=alarm.name,
            severity=alarm.severity,
            runbook=alarm.runbook,
            says=alarm.says,
            ringing=ringing,
            since=standing.rings_since,
            found=tuple(found for _, found in verdicts),
        )

    def _holds(self, condition: Condition, now_s: float, seen_s: float) -> tuple[bool, str]:
        last = self._readings[-1]
        match condition:
            case Rise():
                grown = self._rise(condition.rise, condition.where, condition.within_s, now_s, seen_s)
                return grown >= condition.by, f"{grown:g} in {condition.within_s} s"
            case Share():
                part = self._rise(condition.share, condition.where, condition.within_s, now_s, seen_s)
                whole = self._rise(condition.of, {}, condition.within_s, now_s, seen_s)
                percent = 100 * part / whole if whole else 0.0
                judged = whole >= condition.at_least
                return judged and percent >= condition.percent, f"{part:g} of {whole:g} in {condition.within_s} s"
            case Level():
                value = last.highest(condition.level)
                return value is not None and value >= condition.reaches, "-" if value is None else f"{value:g}"
            case Portion():
                part_of, of = last.highest(condition.portion), last.highest(condition.of)
                if part_of is None or not of:
                    return False, "-"
                return 100 * part_of / of >= condition.percent, f"{part_of:g} of {of:g}"
            case Wrong():
                told = last.processes.get(condition.of)
                wrong = told is not None and condition.wrong in told.wrong
                return wrong, "wrong" if wrong else "right"
            case _:
                assert_never(condition)

    def _rise(
        self, metric: str, where: Mapping[str, tuple[str, ...]], within_s: int, now_s: float, seen_s: float
    ) -> float:
        return rise(self._readings, metric, where, max(now_s - within_s, seen_s))
