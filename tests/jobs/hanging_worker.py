"""A worker process whose agent host never answers a start: says so on stdout, and waits to be killed."""

import asyncio
import sys
from typing import NoReturn

import aioboto3

from agents.behalf import OnBehalf
from agents.inband import InbandStatus
from agents.invocation import TraceHeaders
from jobs.ticks import connect
from jobs.worker import TickWorker, job_line
from tenancy.clock import SystemClock
from tenancy.data_models import AgentVersion
from tenancy.ids import JobId, SessionId, TenantId
from tests.conftest import BUCKET, REGION, Aws
from tests.jobs.conftest import make_floor
from tests.jobs.parts import FakeRuntime, make_agent


class HangingRuntime(FakeRuntime):
    """Starts hang for good."""

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
        sys.stdout.write("starting\n")
        sys.stdout.flush()
        return await _never()


async def _never() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def main(redis_url: str, store_url: str, table_prefix: str, tenant: str) -> None:
    session = aioboto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    async with (
        session.client("dynamodb", endpoint_url=store_url) as dynamodb,
        session.client("s3", endpoint_url=store_url) as s3,
    ):
        aws = Aws(dynamodb, s3, table_prefix, BUCKET, session, store_url)
        clock = SystemClock()
        floor = make_floor(aws, connect(redis_url), clock, TenantId(tenant), make_agent(), HangingRuntime(clock))
        worker = TickWorker(
            job_line(floor.worker("doomed"), floor.gates), floor.redis, clock=clock, metrics=floor.metrics
        )
        await worker.run(asyncio.Event(), grace_s=0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
