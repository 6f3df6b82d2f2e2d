"""Every alarm watches what exists, and docs/OPERATIONS.md lists each one."""

import pytest

from ops.alarms.catalogue import Alarm, Level, Portion, Rise, Severity, Share, Wrong, catalogue, metrics_of
from tests.docs.papers import pages
from tests.docs.test_errors import listed as codes
from tests.docs.test_operations import PAGE, listed

CHECKS = {"ready"}


def faults(alarm: Alarm, metrics: dict[str, frozenset[str]], checks: set[str], known: list[str]) -> list[str]:
    """Return what an alarm watches that does not exist: metrics, their labels, checks of readiness, codes."""
    found = [f"no metric {metric}" for metric in sorted(metrics_of(alarm) - metrics.keys())]
    for one in alarm.when:
        if isinstance(one, Rise | Share):
            metric = one.rise if isinstance(one, Rise) else one.share
            found += [f"{metric} has no label {label}" for label in one.where if label not in metrics.get(metric, ())]
            found += [f"no code {code}" for code in one.where.get("code", ()) if code not in known]
        if isinstance(one, Wrong) and one.wrong not in checks:
            found.append(f"readiness has no check {one.wrong}")
    return found


def checks() -> set[str]:
    section = pages()[PAGE].section("Readiness") or ""
    return CHECKS | {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}


@pytest.mark.parametrize("alarm", catalogue(), ids=lambda alarm: alarm.name)
def test_every_alarm_watches_what_exists(alarm: Alarm) -> None:
    assert faults(alarm, listed(), checks(), codes(pages()["docs/ERRORS.md"])) == []


def test_an_alarm_on_nothing_is_found() -> None:
    alarm = Alarm(
        name="x",
        severity=Severity.PAGE,
        runbook="001",
        says="So.",
        when=(
            Rise(rise="lockgate_a_total", where={"code": ("odd",), "size": ("1",)}, by=1, within_s=1),
            Level(level="lockgate_b", reaches=1),
            Portion(portion="lockgate_c", of="lockgate_d", percent=1),
            Wrong(wrong="moon", of="gateway"),
        ),
    )
    assert faults(alarm, {"lockgate_a_total": frozenset({"code"}), "lockgate_c": frozenset()}, {"redis"}, ["even"]) == [
        "no metric lockgate_b",
        "no metric lockgate_d",
        "lockgate_a_total has no label size",
        "no code odd",
        "readiness has no check moon",
    ]


def test_every_alarm_is_listed_with_its_severity_and_runbook() -> None:
    section = pages()[PAGE].section("Alarms") or ""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if "| `" in line]
    shown = {row[0].strip("` "): (row[1], row[2]) for row in rows}
    assert shown == {alarm.name: (alarm.severity.value, alarm.runbook) for alarm in catalogue()}
