"""What each tier may use: one literal table, every number a row."""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from pydantic import BaseModel, ConfigDict, Field


class Tier(StrEnum):
    """A named plan mapped to limits, from least to most."""

    BASIC = "basic"
    STANDARD = "standard"
    PREMIUM = "premium"

    def includes(self, minimum: "Tier") -> bool:
        """Tell whether this tier reaches `minimum`."""
        return _RANK[self] >= _RANK[minimum]


_RANK: Final = {tier: rank for rank, tier in enumerate(Tier)}


@dataclass(frozen=True, slots=True)
class Limits:
    """A tenant's ceilings; None means unlimited."""

    requests_per_s: int
    burst_requests: int
    invocations_per_day: int | None
    concurrent_streams: int
    running_jobs: int
    replay_s: int


class LimitOverrides(BaseModel):
    """Ceilings that replace the tier's own for one tenant; a field left out keeps the tier's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_s: int | None = Field(default=None, ge=1)
    burst_requests: int | None = Field(default=None, ge=1)
    invocations_per_day: int | None = Field(default=None, ge=0)
    concurrent_streams: int | None = Field(default=None, ge=0)
    running_jobs: int | None = Field(default=None, ge=0)
    replay_s: int | None = Field(default=None, ge=0)


LIMITS: Final = {
    #                     req/s  burst  a day   streams  jobs  replay
    Tier.BASIC: Limits(10, 20, 1_000, 5, 2, 600),
    Tier.STANDARD: Limits(50, 100, 10_000, 50, 20, 3_600),
    Tier.PREMIUM: Limits(500, 1_000, None, 500, 200, 86_400),
}


@lru_cache(maxsize=4096)  # every request asks, few tenants differ
def limits_of(tier: Tier, overrides: LimitOverrides) -> Limits:
    """Return the tier's limits with the tenant's overrides laid over them."""
    return replace(LIMITS[tier], **overrides.model_dump(exclude_none=True))
