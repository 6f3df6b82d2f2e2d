"""AWS clients of the running stack's own parts, with the stack's own keys: nothing of the user's is read."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aioboto3
from botocore.config import Config

from ops.devstack.environment import REGION
from ops.devstack.layout import DevKeys
from ops.devstack.ports import Ports

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_s3.client import S3Client

    from agents.control import ControlClient

_CONFIG: Final = Config(connect_timeout=2, read_timeout=20, retries={"mode": "standard", "max_attempts": 4})


@dataclass(frozen=True, slots=True)
class StackClients:
    """Clients of the embedded store, unguarded: they make tables, and write what nobody's request asked for."""

    dynamodb: "DynamoDBClient"
    s3: "S3Client"


def _session(keys: DevKeys) -> aioboto3.Session:
    return aioboto3.Session(
        aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key, region_name=REGION
    )


@asynccontextmanager
async def store_clients(ports: Ports, keys: DevKeys) -> AsyncIterator[StackClients]:
    """Open clients of the embedded store, closed when left."""
    session, url = _session(keys), ports.url("store")
    async with AsyncExitStack() as stack:
        yield StackClients(
            dynamodb=await stack.enter_async_context(session.client("dynamodb", endpoint_url=url, config=_CONFIG)),
            s3=await stack.enter_async_context(session.client("s3", endpoint_url=url, config=_CONFIG)),
        )


@asynccontextmanager
async def control_client(url: str, region: str, keys: DevKeys) -> AsyncIterator["ControlClient"]:
    """Open a client of the control plane of one of the local AgentCores, closed when left."""
    session = _session(keys)
    async with session.client(
        "bedrock-agentcore-control", region_name=region, endpoint_url=url, config=_CONFIG
    ) as client:
        yield client
