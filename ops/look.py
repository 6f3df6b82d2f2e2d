"""One look at a running platform: what its processes tell, put together for people."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from ops.alarms.readings import READY, Reading, rise
from ops.alarms.watch import AlarmState


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcessLook(_Model):
    """One process: whether it may be sent to, and what is wrong."""

    ready: bool
    wrong: tuple[str, ...]


class Load(_Model):
    """What is served; rates are a second's, over the time since the look before."""

    requests_per_s: float
    errors_per_s: float
    invocations_per_s: float
    invocations_in_flight: int
    connections: int
    loop_lag_ms: float


class Queues(_Model):
    """What waits."""

    jobs_queued: int
    jobs_running: int
    ticks_owed: int
    oldest_overdue_s: float
    records_held: int
    webhook_attempts_per_s: float


class TenantLook(_Model):
    """A tenant by the runtime sessions it has in use."""

    tenant: str
    sessions: int
    percent: int
    runaway: bool


class Sessions(_Model):
    """Runtime sessions in use, of AgentCore's quota."""

    used: int
    limit: int
    loud: tuple[TenantLook, ...]


class RegionLook(_Model):
    """The region agents run in now, and what is advised."""

    serving: str
    home: str
    settled: bool
    advice: str


class Look(_Model):
    """Everything at one moment; `sessions` and `region` are None where the API did not say."""

    processes: Mapping[str, ProcessLook]
    region: RegionLook | None
    load: Load
    queues: Queues
    sessions: Sessions | None
    alarms: tuple[AlarmState, ...]


def looked(
    before: Reading,
    now: Reading,
    sessions: Sessions | None,
    alarms: tuple[AlarmState, ...],
    region: RegionLook | None = None,
) -> Look:
    """Return a look from two readings."""
    seconds = max(now.at_s - before.at_s, 0.001)

    def per_s(metric: str, where: Mapping[str, tuple[str, ...]] | None = None) -> float:
        return round(rise((before, now), metric, where or {}, before.at_s) / seconds, 1)

    submitted, started = now.total("lockgate_jobs_submitted_total", {}), now.total("lockgate_jobs_started_total", {})
    return Look(
        processes={
            name: ProcessLook(ready=READY not in told.wrong, wrong=tuple(sorted(told.wrong - {READY})))
            for name, told in now.processes.items()
        },
        region=region,
        load=Load(
            requests_per_s=per_s("lockgate_requests_total"),
            errors_per_s=per_s("lockgate_requests_total", {"status": ("500", "502", "503", "504")}),
            invocations_per_s=per_s("lockgate_invocations_total"),
            invocations_in_flight=int(now.total("lockgate_invocations_in_flight", {})),
            connections=int(now.total("lockgate_connections", {})),
            loop_lag_ms=round(1000 * (now.highest("lockgate_loop_lag_seconds") or 0.0), 1),
        ),
        queues=Queues(
            # Both began to count when their processes did.
            jobs_queued=max(0, int(submitted - started)),
            jobs_running=max(0, int(started - now.total("lockgate_jobs_ended_total", {}))),
            ticks_owed=int(now.total("lockgate_job_ticks_owed", {})),
            oldest_overdue_s=round(now.highest("lockgate_sweep_oldest_overdue_seconds") or 0.0, 1),
            records_held=int(now.total("lockgate_journal_held", {})),
            webhook_attempts_per_s=per_s("lockgate_webhook_attempts_total"),
        ),
        sessions=sessions,
        alarms=tuple(alarm for alarm in alarms if alarm.ringing),
    )
