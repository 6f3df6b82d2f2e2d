"""What a tick asks of the agents' floor.

A job's session is its own: whatever is asked carries the job's session and id, so that the kit runs a job once
however often it is started. Each question has a time limit of its own, kept by whoever answers it.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from agents.behalf import OnBehalf
from agents.inband import InbandStatus
from agents.invocation import TraceHeaders
from tenancy.data_models import AgentVersion
from tenancy.ids import AgentName, JobId, SessionId, TenantId

# Tells whether a tenant was deleted, so that what runs for it is to be stopped. Raises StoreUnavailableError.
IsDisowned: TypeAlias = Callable[[TenantId], Awaitable[bool]]
# Pins a version to where it runs when a run is begun now.
Place: TypeAlias = Callable[[AgentVersion], AgentVersion]


def as_it_is(agent: AgentVersion) -> AgentVersion:
    """Return the version itself: there is one region."""
    return agent


async def owned(_tenant_id: TenantId) -> bool:
    """Take every tenant for one that still is."""
    return False


class Agents(Protocol):
    """Finds the agent version a job was submitted to."""

    async def get(self, name: AgentName, version: str | None = None) -> AgentVersion:
        """Return the version; raises AgentUnknownError."""
        ...


class JobRuntime(Protocol):
    """Speaks in-band to a job's session. Everything raises RuntimeFaultError."""

    async def start_job(
        self,
        agent: AgentVersion,
        session_id: SessionId,
        job_id: JobId,
        body: bytes,
        trace: TraceHeaders,
        *,
        behalf: OnBehalf | None = None,
    ) -> InbandStatus:
        """Start the job and return how it stands; one that was started before is left as it is.

        `behalf` is for whom its tools may be called.
        """
        ...

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        """Return how the job stands."""
        ...

    async def stop_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        """Have the job stopped and return how it stands; asking again for one that is stopping changes nothing."""
        ...

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        """End the session; one that is gone is fine."""
        ...
