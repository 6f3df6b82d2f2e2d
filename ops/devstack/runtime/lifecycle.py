"""When a session's process must end: a pure decision over what was observed.

Active = an invocation in flight, or the last ping said HealthyBusy. The idle time runs from the end of the last
invocation or from the last move of the ping's `time_of_last_update`, whichever is later; an agent that stamps every
ping with the current time is therefore never idle, as on AWS. The lifetime is hard, busy or not.
"""

from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

EndReason = Literal["idle", "lifetime", "unhealthy", "stopped", "exited", "failed", "shutdown"]


class Ping(BaseModel):
    """What an agent says of itself; measured: `time_of_last_update` is a Unix time in seconds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Literal["Healthy", "HealthyBusy"] = "Healthy"
    time_of_last_update: float | None = None


@dataclass(slots=True)
class Observed:
    """What the runtime saw of one session; times are its monotonic clock's."""

    created_at: float
    ended_at: float  # the last invocation's end
    restamped_at: float  # when the ping's time_of_last_update last moved
    changed_at: float  # when the ping's status last changed
    ping: Ping = field(default_factory=Ping)
    pings: int = 0
    failed_pings: int = 0
    in_flight: int = 0

    @classmethod
    def new(cls, now: float) -> Self:
        """Return what is known of a session that begins now."""
        return cls(created_at=now, ended_at=now, restamped_at=now, changed_at=now)

    def invocation_ended(self, now: float) -> None:
        """Note the end of an invocation."""
        self.in_flight -= 1
        self.ended_at = now

    def pinged(self, ping: Ping | None, now: float) -> None:
        """Note a ping's answer; None means it had none, or an error."""
        self.pings += 1
        if ping is None:
            self.failed_pings += 1
            return
        self.failed_pings = 0
        if ping.time_of_last_update != self.ping.time_of_last_update:
            self.restamped_at = now
        if ping.status != self.ping.status:
            self.changed_at = now
        self.ping = ping


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of one session; `strict_ping`: a HealthyBusy without `time_of_last_update` counts for nothing."""

    idle_s: float
    lifetime_s: float
    unhealthy_pings: int
    strict_ping: bool = False


def is_active(seen: Observed, rules: Rules) -> bool:
    """Tell whether the session is doing something."""
    counts = seen.ping.time_of_last_update is not None or not rules.strict_ping
    return seen.in_flight > 0 or (seen.ping.status == "HealthyBusy" and counts)


def quiet_since(seen: Observed, rules: Rules) -> float:
    """Return when the idle time began, for a session that is not active."""
    moved = max(seen.ended_at, seen.restamped_at)
    return moved if rules.strict_ping else max(moved, seen.changed_at)


def verdict(seen: Observed, rules: Rules, now: float) -> EndReason | None:
    """Return why the session must end now, or None."""
    if now - seen.created_at >= rules.lifetime_s:
        return "lifetime"
    if seen.failed_pings >= rules.unhealthy_pings:
        return "unhealthy"
    if not is_active(seen, rules) and now - quiet_since(seen, rules) >= rules.idle_s:
        return "idle"
    return None
