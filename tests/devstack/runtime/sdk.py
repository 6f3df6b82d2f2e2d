"""What the tests of the local AgentCore share: a running one, and boto3's own clients pointed at it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import boto3
import orjson
from aiohttp import ClientResponse, ClientSession
from botocore.config import Config
from botocore.exceptions import ClientError
from yarl import URL

from ops.devstack.runtime.server import LocalAgentCore

AGENTS: Final = Path(__file__).parent / "agents"
PYTHON: Final = Path(__file__).parents[3] / "agents" / "echo-agent" / ".venv" / "bin" / "python"
ROLE: Final = "arn:aws:iam::000000000000:role/agent"
SESSION: Final = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
Fields = dict[str, Any]  # what boto3 takes and gives


def session_id(name: str) -> str:
    """Return an id of the wanted length."""
    return name.ljust(33, "-")


def image(folder: str) -> Fields:
    """Return the artifact that names a folder of AGENTS; older SDKs know no other kind."""
    return {"containerConfiguration": {"containerUri": f"000000000000.dkr.ecr.local.amazonaws.com/{folder}:1"}}


def described(folder: str, **more: object) -> Fields:
    """Return a runtime's description."""
    network = {"networkMode": "PUBLIC"}
    return {"agentRuntimeArtifact": image(folder), "roleArn": ROLE, "networkConfiguration": network} | more


@dataclass(frozen=True, slots=True)
class Refused:
    """An error answer, as boto3 saw it."""

    status: int
    kind: str
    message: str


class Sdk:
    """boto3's two clients, off the event loop."""

    def __init__(self, core: LocalAgentCore, access_key: str = "anyone", secret_key: str = "anything") -> None:
        self.core = core
        make = functools.partial(
            _aws(access_key, secret_key).client,
            region_name="eu-west-1",
            config=Config(retries={"max_attempts": 0}),
        )
        self._control: Any = make("bedrock-agentcore-control", endpoint_url=core.control_url)
        self._data: Any = make("bedrock-agentcore", endpoint_url=core.data_url)

    async def control(self, operation: str, **fields: object) -> Fields:
        """Call the control plane."""
        return await _call(getattr(self._control, operation), fields)

    async def data(self, operation: str, **fields: object) -> Fields:
        """Call the data plane."""
        return await _call(getattr(self._data, operation), fields)

    async def create(self, name: str, folder: str, **more: object) -> str:
        """Create a runtime, wait until it is ready, return its ARN."""
        made = await self.control("create_agent_runtime", agentRuntimeName=name, **described(folder, **more))
        await self.core.catalogue.settled()
        arn: str = made["agentRuntimeArn"]
        return arn

    async def update(self, arn: str, folder: str, **more: object) -> None:
        """Give a runtime another version and wait until it is live."""
        runtime_id = arn.rpartition("/")[2]
        await self.control("update_agent_runtime", agentRuntimeId=runtime_id, **described(folder, **more))
        await self.core.catalogue.settled()

    async def invoke(self, arn: str, do: str, session: str | None = None, **more: object) -> Fields:
        """Invoke and return the agent's JSON."""
        return (await self.answer(arn, do, session, **more))[1]

    async def answer(self, arn: str, do: str, session: str | None = None, **more: object) -> tuple[Fields, Fields]:
        """Invoke and return boto3's answer and the agent's JSON."""
        fields: Fields = {"agentRuntimeArn": arn, "payload": orjson.dumps({"do": do} | more)}
        answer = await self.data("invoke_agent_runtime", **fields | ({"runtimeSessionId": session} if session else {}))
        return answer, orjson.loads(await asyncio.to_thread(answer["response"].read))

    async def stop(self, arn: str, session: str) -> Fields:
        """Stop a session."""
        return await self.data("stop_runtime_session", agentRuntimeArn=arn, runtimeSessionId=session)

    async def refused(self, call: Awaitable[object]) -> Refused:
        """Return the error a call ends with."""
        try:
            answer = await call
        except ClientError as error:
            told = error.response["Error"]
            return Refused(error.response["ResponseMetadata"]["HTTPStatusCode"], told["Code"], told["Message"])
        raise AssertionError(f"was not refused: {answer}")


def wire_url(core: LocalAgentCore, arn: str, operation: str = "invocations", query: str = "") -> URL:
    """Return an operation's URL with the ARN as one raw path segment."""
    return URL(f"{core.data_url}/runtimes/{quote(arn, safe='')}/{operation}{query}", encoded=True)


def post(
    http: ClientSession, core: LocalAgentCore, arn: str, session: str, headers: Mapping[str, str] = {}, **order: object
) -> AbstractAsyncContextManager[ClientResponse]:
    """Invoke over plain HTTP; entered when the status line is there."""
    return http.post(wire_url(core, arn), data=orjson.dumps(order), headers={SESSION: session, **headers})


@functools.cache
def _aws(access_key: str, secret_key: str) -> boto3.Session:
    """Return a session per key: reading the service models takes longer than most tests."""
    return boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key)


async def _call(operation: Callable[..., Fields], fields: Mapping[str, object]) -> Fields:
    return await asyncio.to_thread(lambda: operation(**fields))
