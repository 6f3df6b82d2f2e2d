"""Processes' leases in memory, which can be away and can lose an answer."""

from dataclasses import dataclass, field

from tenancy.data_models import ProcessLease
from tenancy.errors import ConditionFailedError, StoreUnavailableError


@dataclass
class LeaseTable:
    """What `gateway.processes.Leases` says, kept to by a dictionary."""

    rows: dict[str, ProcessLease] = field(default_factory=dict)
    away: bool = False
    # What is written next is written, and its writer is not told.
    mute: bool = False

    async def processes(self) -> tuple[ProcessLease, ...]:
        self._reach()
        return tuple(self.rows.values())

    async def put_process(self, lease: ProcessLease, *, seen: ProcessLease | None) -> None:
        self._reach()
        self._expect(lease, seen)
        self.rows[lease.process] = lease
        self._answer()

    async def delete_process(self, lease: ProcessLease) -> None:
        self._reach()
        self._expect(lease, lease)
        del self.rows[lease.process]
        self._answer()

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailableError

    def _expect(self, lease: ProcessLease, seen: ProcessLease | None) -> None:
        stands = self.rows.get(lease.process)
        if (stands and stands.record_version) != (seen and seen.record_version):
            raise ConditionFailedError

    def _answer(self) -> None:
        mute, self.mute = self.mute, False
        if mute:
            raise StoreUnavailableError
