"""Registering runtimes; the real local AgentCore is in test_end_to_end."""

import asyncio

import pytest

from agents.control import ControlPlane, Fields, RuntimeRef, WantedRuntime, runtime_name
from agents.errors import RuntimeBrokenError, RuntimeTimeoutError
from tenancy.ids import AgentName
from tests.clock import FakeClock

WANTED = WantedRuntime("echo_agent", "image:1", "arn:aws:iam::000000000000:role/agent")


class SlowControl:
    """A control plane whose runtimes stay under way for as many looks as told, then end in `status`."""

    def __init__(self, *, looks: int, status: str = "READY") -> None:
        self.looks = looks
        self.status = status
        self.runtimes: list[Fields] = []
        self.calls: list[str] = []

    async def list_agent_runtimes(self, **fields: object) -> Fields:
        self.calls.append("list")
        after = int(str(fields.get("nextToken", 0)))
        page = {"agentRuntimes": self.runtimes[after : after + 1]}
        return page | ({"nextToken": str(after + 1)} if after + 1 < len(self.runtimes) else {})

    async def create_agent_runtime(self, **fields: object) -> Fields:
        self.calls.append("create")
        name = str(fields["agentRuntimeName"])
        made: Fields = {"agentRuntimeId": name, "agentRuntimeArn": "arn:" + name, "agentRuntimeVersion": "1"}
        self.runtimes.append(made | fields)
        return made

    async def update_agent_runtime(self, **fields: object) -> Fields:
        self.calls.append("update")
        [runtime] = [found for found in self.runtimes if found["agentRuntimeId"] == fields["agentRuntimeId"]]
        runtime |= fields | {"agentRuntimeVersion": str(int(runtime["agentRuntimeVersion"]) + 1)}
        return {}

    async def get_agent_runtime(self, **fields: object) -> Fields:
        self.calls.append("get")
        [runtime] = [found for found in self.runtimes if found["agentRuntimeId"] == fields["agentRuntimeId"]]
        self.looks -= 1
        return runtime | {"status": "CREATING" if self.looks >= 0 else self.status}


async def ensured(control: SlowControl, clock: FakeClock, wanted: WantedRuntime = WANTED) -> RuntimeRef:
    """Ensure it on a clock that jumps whenever somebody sleeps."""
    asked = asyncio.create_task(ControlPlane(control, clock=clock).ensure_runtime(wanted))
    ticking = asyncio.create_task(_tick(clock))
    try:
        return await asked
    finally:
        ticking.cancel()


async def _tick(clock: FakeClock) -> None:
    while True:
        await clock.until_sleeping()
        await clock.advance(5)


async def test_a_new_runtime_is_returned_once_it_is_ready(clock: FakeClock) -> None:
    control = SlowControl(looks=3)
    assert await ensured(control, clock) == RuntimeRef("arn:echo_agent", "1")
    assert control.calls == ["list", "create", "get", "get", "get", "get"]


async def test_one_that_is_as_wanted_is_left_alone_on_whatever_page_it_is(clock: FakeClock) -> None:
    control = SlowControl(looks=0)
    for name in ("other", "echo_agent"):
        await ensured(control, clock, WantedRuntime(name, WANTED.container_uri, WANTED.role_arn))
    control.calls.clear()
    assert await ensured(control, clock) == RuntimeRef("arn:echo_agent", "1")
    assert control.calls == ["list", "list", "get", "get"]


@pytest.mark.parametrize(
    "changed",
    [
        WantedRuntime(WANTED.name, "image:2", WANTED.role_arn),
        WantedRuntime(WANTED.name, WANTED.container_uri, WANTED.role_arn, allowed_headers=()),
        WantedRuntime(WANTED.name, WANTED.container_uri, WANTED.role_arn, environment={"A": "b"}),
    ],
)
async def test_one_that_differs_becomes_a_new_version(clock: FakeClock, changed: WantedRuntime) -> None:
    control = SlowControl(looks=0)
    await ensured(control, clock)
    assert (await ensured(control, clock, changed)).version == "2"
    assert (await ensured(control, clock, changed)).version == "2"


async def test_one_that_agentcore_failed_to_make_is_an_error(clock: FakeClock) -> None:
    with pytest.raises(RuntimeBrokenError, match="CREATE_FAILED"):
        await ensured(SlowControl(looks=1, status="CREATE_FAILED"), clock)


async def test_waiting_ends_after_five_minutes(clock: FakeClock) -> None:
    with pytest.raises(RuntimeTimeoutError):
        await ensured(SlowControl(looks=1_000_000), clock)
    assert 300 <= clock.monotonic() <= 310


def test_an_agents_name_is_turned_into_a_runtimes() -> None:
    assert runtime_name(AgentName("echo-agent-2")) == "echo_agent_2"
