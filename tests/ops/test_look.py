from ops.alarms.catalogue import Severity
from ops.alarms.readings import READY, Reading, Told, parsed
from ops.alarms.watch import AlarmState
from ops.look import RegionLook, Sessions, TenantLook, looked


def told(requests: int, errors: int, *, submitted: int = 0, started: int = 0, lag: float = 0) -> Told:
    return Told(
        frozenset({"redis"}),
        parsed(
            "# TYPE lockgate_requests counter\n"
            f'lockgate_requests_total{{status="200"}} {requests}\n'
            f'lockgate_requests_total{{status="502"}} {errors}\n'
            "# TYPE lockgate_jobs_submitted counter\n"
            f"lockgate_jobs_submitted_total {submitted}\n"
            "# TYPE lockgate_jobs_started counter\n"
            f"lockgate_jobs_started_total {started}\n"
            "# TYPE lockgate_loop_lag_seconds gauge\n"
            f"lockgate_loop_lag_seconds {lag}\n"
        ),
        answered=True,
    )


def alarm(name: str, *, ringing: bool) -> AlarmState:
    return AlarmState(
        name=name, severity=Severity.PAGE, runbook="001", says="So.", ringing=ringing, since=None, found=()
    )


def test_rates_are_a_seconds_since_the_look_before_and_what_waits_is_what_stands() -> None:
    before = Reading(10.0, {"gateway": told(100, 0, submitted=4), "worker": told(0, 0, started=1)})
    now = Reading(12.0, {"gateway": told(300, 10, submitted=9, lag=0.25), "worker": told(0, 0, started=3)})
    sessions = Sessions(used=3, limit=9, loud=(TenantLook(tenant="acme", sessions=3, percent=100, runaway=True),))
    region = RegionLook(serving="eu-central-1", home="eu-west-1", settled=True, advice="stay")
    look = looked(before, now, sessions, (alarm("loud", ringing=True), alarm("quiet", ringing=False)), region)
    assert (look.load.requests_per_s, look.load.errors_per_s, look.load.loop_lag_ms) == (105.0, 5.0, 250.0)
    assert (look.queues.jobs_queued, look.queues.jobs_running) == (6, 3)
    assert [one.name for one in look.alarms] == ["loud"]
    assert (look.sessions, look.region) == (sessions, region)


def test_a_process_that_does_not_answer_is_not_ready_and_a_degraded_one_says_of_what() -> None:
    reading = Reading(1.0, {"gateway": told(0, 0), "worker": Told()})
    look = looked(reading, reading, None, ())
    assert (look.processes["gateway"].ready, look.processes["gateway"].wrong) == (True, ("redis",))
    assert (look.processes["worker"].ready, look.processes["worker"].wrong) == (False, ())
    assert READY not in look.processes["worker"].wrong
