from collections.abc import Mapping

import pytest

from ops.alarms.catalogue import Alarm, Condition, Level, Portion, Rise, Severity, Share, Wrong, catalogue
from ops.alarms.readings import Reading, Told, parsed
from ops.alarms.watch import AlarmState, AlarmUnknownError, Watch
from tests.clock import FakeClock

LOST = Rise(rise="lockgate_lost_total", by=2, within_s=60)


class Tower:
    """A watch over one alarm, and what processes tell it."""

    def __init__(self, *when: Condition, for_s: int = 0) -> None:
        self.clock = FakeClock()
        alarm = Alarm(name="bell", severity=Severity.PAGE, runbook="001", says="So.", when=when, for_s=for_s)
        self.watch = Watch((alarm,), {}, self.clock)

    def take(self, **processes: Told | str) -> AlarmState:
        told = {
            name: Told(frozenset(), parsed(one), answered=True) if isinstance(one, str) else one
            for name, one in processes.items()
        }
        [state] = self.watch.take(Reading(self.clock.monotonic(), told))
        return state

    async def wait(self, seconds: float) -> None:
        await self.clock.advance(seconds)


def lost(count: float, **labels: str) -> str:
    return text("counter", "lockgate_lost", {"_total": count}, labels)


def gauge(name: str, value: float) -> str:
    return text("gauge", name, {"": value}, {})


def text(kind: str, name: str, samples: Mapping[str, float], labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{label}="{value}"' for label, value in labels.items())
    lines = [f"# TYPE {name} {kind}", *(f"{name}{end}{{{inner}}} {value}" for end, value in samples.items())]
    return "\n".join(lines) + "\n"


async def test_a_rise_rings_while_it_is_within_its_window() -> None:
    tower = Tower(LOST)
    assert not tower.take(gateway=lost(1)).ringing
    await tower.wait(30)
    state = tower.take(gateway=lost(2))
    assert (state.ringing, state.found, state.since) == (True, ("2 in 60 s",), tower.clock.now())
    await tower.wait(31)
    state = tower.take(gateway=lost(2))
    assert (state.ringing, state.found, state.since) == (False, ("1 in 60 s",), None)


async def test_a_rise_is_of_all_processes_and_outlives_a_restart() -> None:
    tower = Tower(LOST)
    tower.take(gateway=lost(7), worker=lost(7))
    await tower.wait(61)
    assert tower.take(gateway=lost(7), worker=Told()).found == ("0 in 60 s",)
    # The worker is back and counts from nothing.
    assert tower.take(gateway=lost(8), worker=lost(1)).found == ("2 in 60 s",)


async def test_a_rise_counts_only_what_its_labels_say() -> None:
    tower = Tower(Rise(rise="lockgate_lost_total", where={"code": ("a", "b")}, by=3, within_s=60))
    assert tower.take(gateway=lost(5, code="c") + lost(2, code="a")).found == ("2 in 60 s",)
    assert tower.take(gateway=lost(9, code="c") + lost(2, code="a"), worker=lost(1, code="b")).ringing


async def test_what_was_seen_to_counts_anew() -> None:
    tower = Tower(LOST)
    assert tower.take(gateway=lost(2)).ringing
    await tower.wait(1)
    tower.watch.seen("bell")
    assert not tower.take(gateway=lost(3)).ringing
    await tower.wait(1)
    assert not tower.take(gateway=lost(4)).ringing
    await tower.wait(1)
    assert tower.take(gateway=lost(5)).ringing
    with pytest.raises(AlarmUnknownError, match="alarms list"):
        tower.watch.seen("gong")


async def test_a_share_is_judged_only_of_enough() -> None:
    condition = Share(
        share="lockgate_lost_total",
        where={"code": ("bad",)},
        of="lockgate_lost_total",
        percent=10,
        at_least=20,
        within_s=60,
    )
    tower = Tower(condition)
    assert not tower.take(gateway=lost(17, code="ok") + lost(2, code="bad")).ringing
    assert tower.take(gateway=lost(18, code="ok") + lost(2, code="bad")).ringing
    assert not tower.take(gateway=lost(180, code="ok") + lost(2, code="bad")).ringing


async def test_a_level_is_that_of_the_highest_process() -> None:
    tower = Tower(Level(level="lockgate_lag", reaches=5))
    assert not tower.take(gateway=gauge("lockgate_lag", 4)).ringing
    assert tower.take(gateway=gauge("lockgate_lag", 4), worker=gauge("lockgate_lag", 5)).found == ("5",)
    assert tower.take(gateway=Told()).found == ("-",)


async def test_a_portion_is_of_another_gauge_and_every_condition_must_hold() -> None:
    most = Portion(portion="lockgate_used", of="lockgate_limit", percent=70)
    tower = Tower(most, Level(level="lockgate_used", reaches=10))
    assert not tower.take(gateway=gauge("lockgate_used", 7) + gauge("lockgate_limit", 10)).ringing
    assert not tower.take(gateway=gauge("lockgate_used", 69) + gauge("lockgate_limit", 100)).ringing
    assert tower.take(gateway=gauge("lockgate_used", 70) + gauge("lockgate_limit", 100)).found == ("70 of 100", "70")
    assert not tower.take(gateway=gauge("lockgate_used", 70) + gauge("lockgate_limit", 0)).ringing


async def test_what_is_wrong_rings_once_it_has_lasted() -> None:
    tower = Tower(Wrong(wrong="redis", of="gateway"), for_s=15)
    sick, well = Told(frozenset({"redis"}), answered=True), Told(frozenset(), answered=True)
    assert not tower.take(gateway=sick).ringing
    await tower.wait(14)
    assert not tower.take(gateway=sick, worker=sick).ringing
    tower.take(gateway=well)
    await tower.wait(14)
    assert not tower.take(gateway=sick).ringing
    await tower.wait(15)
    assert tower.take(gateway=sick).ringing


async def test_who_does_not_answer_is_not_ready() -> None:
    tower = Tower(Wrong(wrong="ready", of="gateway"))
    assert tower.take(gateway=Told()).ringing
    assert not tower.take(gateway=Told(frozenset(), answered=True)).ringing


async def test_readings_older_than_all_windows_are_forgotten() -> None:
    tower = Tower(LOST)
    longest = max(one.within_s for alarm in catalogue() for one in alarm.when if isinstance(one, Rise | Share))
    for count in range(5):
        tower.take(gateway=lost(count))
        await tower.wait(longest)
    assert len(tower.watch._readings) == 3
