"""The wire models of regions and of operators' locks."""

from typing import Annotated, Literal

from pydantic import Field

from agents.region_health import Lately
from gateway.admin.schemas import ReasonRequest
from gateway.fields import INTEGRAL
from gateway.schemas import Count, Timestamp, WireModel, prose, shaped
from tenancy.data_models import OpsLock, ProcessLease, RegionFlag
from tenancy.failover_lock import LEASE_S

RegionText = Annotated[str, shaped("^[a-z]{2}(-[a-z]+)+-[0-9]$", 32, "eu-central-1")]
Fence = Annotated[int, Field(strict=True, ge=1, le=10**12, json_schema_extra={"format": "int64"}), INTEGRAL]


class SwitchRequest(ReasonRequest):
    """Why the region is switched, and under which fence; without one the lock is taken for the switch alone."""

    fence: Fence | None = None


class FenceRequest(WireModel):
    """The fence under which a lock is held."""

    fence: Fence


class ReleaseRequest(ReasonRequest):
    """Why a lock is given back, and the fence under which it is held."""

    fence: Fence


class LockView(WireModel):
    """A lock; one that is free has no `holder`."""

    name: Annotated[str, shaped("^[a-z]+$", 32, "failover")]
    holder: Annotated[str, prose(256)] | None = None
    fence: Count = Field(description="Rises with every holder. Shown with what is done under the lock.")
    lease_seconds: Count = Field(description="A holder that has not renewed for so long may lose it.")
    free_in_seconds: Count = Field(
        description="For how long it has to stay unrenewed from now on until it can be acquired; 0 where it can be now."
    )
    reason: Annotated[str, prose(500)]

    @classmethod
    def of(cls, lock: OpsLock, free_in_s: int) -> "LockView":
        """Show a lock."""
        return cls(
            name=lock.name,
            holder=lock.holder,
            fence=lock.fence,
            lease_seconds=lock.lease_s,
            free_in_seconds=free_in_s,
            reason=lock.reason,
        )

    @classmethod
    def never_held(cls, name: str) -> "LockView":
        """Show a lock that nobody has ever held."""
        return cls(
            name=name, holder=None, fence=0, lease_seconds=LEASE_S, free_in_seconds=0, reason="nobody has held it"
        )


class LocksView(WireModel):
    """Every lock there is."""

    items: Annotated[tuple[LockView, ...], Field(json_schema_extra={"maxItems": 10})]


class ProcessView(WireModel):
    """A gateway process as it told of itself within the last few seconds."""

    process: Annotated[str, shaped("^[0-9a-f]{16}$", 16, "0123456789abcdef")]
    serving: RegionText | None = Field(description="The region it sends invocations to.")
    calls: Count = Field(description="Its calls to that region within a minute …")
    faults: Count = Field(description="… and how many of them the region failed.")

    @classmethod
    def of(cls, lease: ProcessLease) -> "ProcessView":
        """Show what a process wrote into its lease."""
        return cls(process=lease.process, serving=lease.region, calls=lease.calls, faults=lease.faults)


class RegionView(WireModel):
    """Which region serves, since when and why, and what gateway processes make of it."""

    serving: RegionText
    home: RegionText
    failover: RegionText
    fence: Count = Field(description="The fence under which the flag can be written now, or a higher one.")
    changed_by: Annotated[str, prose(256)]
    changed_at: Timestamp | None
    reason: Annotated[str, prose(500)]
    settled: bool = Field(description="Whether every gateway process sends invocations to the serving region.")
    advice: Literal["stay", "fail_over", "fail_back"] = Field(
        description="`fail_over` where the serving home region fails half of at least 20 calls within a minute; "
        "`fail_back` where it is the failover region that fails them. An operator decides."
    )
    processes: Annotated[tuple[ProcessView, ...], Field(json_schema_extra={"maxItems": 1000})]

    @classmethod
    def of(cls, flag: RegionFlag | None, leases: tuple[ProcessLease, ...], *, home: str, failover: str) -> "RegionView":
        """Show the flag and the living processes."""
        serving = home if flag is None else flag.region
        living = [lease for lease in leases if not lease.taken]
        return cls(
            serving=serving,
            home=home,
            failover=failover,
            fence=0 if flag is None else flag.fence,
            changed_by="nobody" if flag is None else flag.changed_by,
            changed_at=None if flag is None else flag.changed_at,
            reason="nobody has switched yet" if flag is None else flag.reason,
            settled=all(lease.region == serving for lease in living),
            advice=_advice(serving, living, home=home),
            processes=tuple(map(ProcessView.of, living)),
        )

    def to_json(self) -> bytes:
        """Keep nulls: here they say something."""
        return self.model_dump_json(by_alias=True).encode()


def _advice(serving: str, living: list[ProcessLease], *, home: str) -> Literal["stay", "fail_over", "fail_back"]:
    if not Lately.of(lease for lease in living if lease.region == serving).failing:
        return "stay"
    return "fail_over" if serving == home else "fail_back"
