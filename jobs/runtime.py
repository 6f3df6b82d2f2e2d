"""What a tick asks of the agents' floor, and how long it waits for it.

A job's session is its own: whatever is asked carries the job's session and id, so that the kit runs a job once
however often it is started.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

from agents.errors import RuntimeTimeoutError
from agents.inband import InbandStatus
from agents.invocation import TraceHeaders
from tenancy.data_models import AgentVersion, JobRecord
from tenancy.ids import AgentName, JobId, SessionId

# A cold microVM may take two minutes to start an agent; a running one answers at once.
START_TIMEOUT_S: Final = 130.0
PROBE_TIMEOUT_S: Final = 8.0
STOP_TIMEOUT_S: Final = 8.0

T = TypeVar("T")


class Agents(Protocol):
    """Finds the agent version a job was submitted to."""

    async def get(self, name: AgentName, version: str | None = None) -> AgentVersion:
        """Return the version; raises AgentUnknownError."""
        ...


class JobRuntime(Protocol):
    """Speaks in-band to a job's session. Everything raises RuntimeFaultError."""

    async def start_job(
        self, agent: AgentVersion, session_id: SessionId, job_id: JobId, body: bytes, trace: TraceHeaders
    ) -> InbandStatus:
        """Start the job and return how it stands; one that was started before is left as it is."""
        ...

    async def probe_job(self, agent: AgentVersion, session_id: SessionId, job_id: JobId) -> InbandStatus:
        """Return how the job stands."""
        ...

    async def stop(self, agent: AgentVersion, session_id: SessionId) -> None:
        """End the session; one that is gone is fine."""
        ...


class JobSessions:
    """The sessions of jobs, each question with its own time limit. Everything raises RuntimeFaultError."""

    def __init__(self, agents: Agents, runtime: JobRuntime) -> None:
        self._agents = agents
        self._runtime = runtime

    async def agent_of(self, job: JobRecord) -> AgentVersion:
        """Return the job's agent version; raises AgentUnknownError."""
        return await self._agents.get(job.agent, job.agent_version)

    async def start(self, job: JobRecord, agent: AgentVersion, body: bytes) -> InbandStatus:
        """Start the job unless it was."""
        trace = TraceHeaders(job.traceparent)
        return await _within(START_TIMEOUT_S, self._runtime.start_job(agent, job.session_id, job.job_id, body, trace))

    async def probe(self, job: JobRecord, agent: AgentVersion) -> InbandStatus:
        """Ask how the job stands."""
        return await _within(PROBE_TIMEOUT_S, self._runtime.probe_job(agent, job.session_id, job.job_id))

    async def stop(self, job: JobRecord) -> None:
        """End the job's session; also raises AgentUnknownError."""
        agent = await self.agent_of(job)
        await _within(STOP_TIMEOUT_S, self._runtime.stop(agent, job.session_id))


async def _within(timeout_s: float, answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except TimeoutError as late:
        raise RuntimeTimeoutError from late
