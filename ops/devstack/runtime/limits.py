"""AgentCore's quotas and times as one value, and the token bucket that paces new sessions.

The times are AWS's own; the two account quotas are small, because here they protect a laptop.
"""

from dataclasses import dataclass

from tenancy.clock import Clock


@dataclass(frozen=True, slots=True)
class Limits:
    """What the local AgentCore allows; seconds unless the name says otherwise."""

    active_sessions: int = 50
    new_sessions_per_s: float = 25.0
    start_s: float = 30.0
    ping_every_s: float = 2.0
    ping_timeout_s: float = 2.0
    unhealthy_pings: int = 3
    sync_s: float = 900.0
    stream_s: float = 3600.0
    payload_bytes: int = 100_000_000
    stop_grace_s: float = 15.0
    stop_answer_s: float = 2.0
    runtimes: int = 1000
    endpoints: int = 10


class TokenBucket:
    """Grants at most `rate_per_s` on average, and one second's worth at once."""

    def __init__(self, clock: Clock, rate_per_s: float) -> None:
        self._clock = clock
        self._rate = rate_per_s
        self._size = max(1.0, rate_per_s)
        self._tokens = self._size
        self._filled_at = clock.monotonic()

    def take(self) -> bool:
        """Take one token; False when none is left."""
        now = self._clock.monotonic()
        self._tokens = min(self._size, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
