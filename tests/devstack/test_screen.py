from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ops.alarms.catalogue import Severity
from ops.alarms.watch import AlarmState
from ops.devstack.layout import Layout
from ops.devstack.screen import Screen
from tests.clock import FakeClock


@pytest.fixture
def paper() -> StringIO:
    return StringIO()


@pytest.fixture
def screen(paper: StringIO, tmp_path: Path, clock: FakeClock) -> Screen:
    layout = Layout(tmp_path)
    layout.make()
    return Screen(Console(file=paper, force_terminal=True, width=60), layout, clock=clock, command="lockgate dev")


def test_a_terminal_sees_no_parts_before_one_is_started(screen: Screen, paper: StringIO) -> None:
    with screen.starting_up(("redis", "gateway")):
        assert paper.getvalue() == ""
    assert paper.getvalue() == ""


def test_a_terminal_sees_every_part_once_one_is_started(screen: Screen, paper: StringIO) -> None:
    with screen.starting_up(("redis", "gateway")):
        screen.starting("redis")
    assert "redis" in paper.getvalue()
    assert "gateway" in paper.getvalue()


@pytest.mark.parametrize(("log", "said"), [("", "redis.log is empty"), ("Out of memory\n", "    Out of memory")])
def test_a_death_is_told_with_the_end_of_the_log(screen: Screen, paper: StringIO, log: str, said: str) -> None:
    screen._layout.log("redis").write_text(log)
    screen.died("redis", "signal 9: Killed")
    assert said in paper.getvalue()
    assert "lockgate dev start redis" in paper.getvalue()


def test_what_dies_when_everything_ends_is_no_news(screen: Screen, paper: StringIO) -> None:
    screen.ending()
    screen.died("redis", "signal 9: Killed")
    assert paper.getvalue() == ""


def test_an_alarm_is_told_with_its_runbook_and_its_end(screen: Screen, paper: StringIO, clock: FakeClock) -> None:
    alarm = AlarmState(
        name="jobs-dead",
        severity=Severity.TICKET,
        runbook="005",
        says="A job is dead.",
        ringing=True,
        since=clock.now(),
        found=("1 in 60 s",),
    )
    screen.rang(alarm)
    screen.rang(alarm.model_copy(update={"ringing": False}))
    assert "A job is dead." in paper.getvalue()
    assert "lockgate runbook show 005" in paper.getvalue()
    assert "alarm jobs-dead is over" in paper.getvalue()
    screen.ending()
    screen.rang(alarm)
    assert paper.getvalue().count("A job is dead.") == 1
