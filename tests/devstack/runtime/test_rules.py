"""The local AgentCore's decisions by themselves: names, headers, limits, ages, places of code."""

import asyncio
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from ops.devstack.runtime.arn import RUNTIME_ID, Place, RuntimeArn, new_id
from ops.devstack.runtime.artifact import CodeRoot
from ops.devstack.runtime.deadline import Deadline
from ops.devstack.runtime.errors import InvalidRequestError
from ops.devstack.runtime.faults import Fault, Faults
from ops.devstack.runtime.headers import may_be_forwarded, towards_agent
from ops.devstack.runtime.lifecycle import Observed, Ping, Rules, verdict
from ops.devstack.runtime.limits import TokenBucket
from ops.devstack.runtime.spec import Artifact
from tests.clock import FakeClock

RULES = Rules(idle_s=60, lifetime_s=600, unhealthy_pings=3)
STRICT = Rules(idle_s=60, lifetime_s=600, unhealthy_pings=3, strict_ping=True)


# Names


def test_an_arn_is_taken_apart_and_put_together_again() -> None:
    text = "arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/echo_agent-aB3dE6gH9j"
    arn = RuntimeArn.parse(text)
    assert arn == RuntimeArn(Place("123456789012", "eu-west-1"), "echo_agent-aB3dE6gH9j")
    assert str(arn) == text


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:bedrock-agentcore:eu-west-1:123456789012:gateway/echo-aB3dE6gH9j",
        "arn:aws:bedrock-agentcore:eu-west-1:12345:runtime/echo-aB3dE6gH9j",
        "arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/echo-aB3dE6gH9j/runtime-endpoint/x",
        "arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/has-hyphen-aB3dE6gH9j",
        "arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/echo-aB3dE6gH9j\n",
        "",
    ],
)
def test_what_is_no_runtimes_arn_is_not_taken_for_one(text: str) -> None:
    assert RuntimeArn.parse(text) is None


def test_new_ids_have_awss_form_and_differ() -> None:
    ids = {new_id("echo") for _ in range(100)}
    assert len(ids) == 100
    assert all(RUNTIME_ID.fullmatch(one) for one in ids)


# Headers


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("X-Amzn-Bedrock-AgentCore-Runtime-Custom-Anything", True),
        ("X-Tenant", True),
        ("Authorization", True),
        ("X-Amzn-Trace-Id", False),
        ("X-Amz-Date", False),
        ("cookie", False),
        ("Host", False),
        ("X-Forwarded-For", False),
        ("Sec-WebSocket-Key", False),
    ],
)
def test_a_runtime_may_allow_only_what_aws_lets_through(name: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    assert may_be_forwarded(name) is allowed


@pytest.mark.parametrize(
    ("name", "longest"), [("traceparent", 128), ("tracestate", 512), ("baggage", 8192), ("X-Custom", 4096)]
)
def test_a_header_is_refused_one_character_above_its_limit(name: str, longest: int) -> None:
    def passed(length: int) -> CIMultiDict[str]:
        return towards_agent(CIMultiDictProxy(CIMultiDict({name: "x" * length})), frozenset({"x-custom"}))

    assert len(passed(longest)[name]) == longest
    with pytest.raises(InvalidRequestError):
        passed(longest + 1)


# Ages


def test_an_idle_session_ends_exactly_at_its_timeout() -> None:
    seen = Observed.new(0)
    assert verdict(seen, RULES, 59.9) is None
    assert verdict(seen, RULES, 60) == "idle"


def test_a_call_in_flight_or_background_work_keeps_a_session() -> None:
    calling, working = Observed.new(0), Observed.new(0)
    calling.in_flight = 1
    working.pinged(Ping(status="HealthyBusy", time_of_last_update=1), 10)
    assert verdict(calling, RULES, 599) is None
    assert verdict(working, RULES, 599) is None


def test_the_lifetime_is_hard() -> None:
    seen = Observed.new(0)
    seen.in_flight = 1
    assert verdict(seen, RULES, 600) == "lifetime"


def test_the_idle_time_runs_from_the_end_of_the_work() -> None:
    seen = Observed.new(0)
    seen.pinged(Ping(status="HealthyBusy", time_of_last_update=1), 10)
    seen.pinged(Ping(status="Healthy", time_of_last_update=2), 100)
    assert verdict(seen, RULES, 159) is None
    assert verdict(seen, RULES, 160) == "idle"


def test_an_agent_that_stamps_every_ping_is_never_idle() -> None:
    seen = Observed.new(0)
    for now in range(0, 500, 2):
        seen.pinged(Ping(time_of_last_update=1_000_000 + now), now)
    assert verdict(seen, RULES, 500) is None


def test_only_the_strict_mode_ignores_a_busy_agent_without_an_update_time() -> None:
    seen = Observed.new(0)
    for now in (2, 4, 58):
        seen.pinged(Ping(status="HealthyBusy"), now)
    assert verdict(seen, STRICT, 60) == "idle"
    assert verdict(seen, RULES, 60) is None


def test_failed_pings_count_only_in_a_row() -> None:
    seen = Observed.new(0)
    for ping in (None, None, Ping(), None, None):
        seen.pinged(ping, 1)
    assert verdict(seen, RULES, 2) is None
    seen.pinged(None, 2)
    assert verdict(seen, RULES, 2) == "unhealthy"


# Limits and time


async def test_the_bucket_gives_one_seconds_worth_at_once_and_then_its_rate(clock: FakeClock) -> None:
    bucket = TokenBucket(clock, 25)
    assert [bucket.take() for _ in range(26)] == [True] * 25 + [False]
    await clock.advance(0.04)
    assert [bucket.take(), bucket.take()] == [True, False]
    await clock.advance(3600)
    assert sum(bucket.take() for _ in range(100)) == 25


async def test_a_deadline_interrupts_on_the_given_clock(clock: FakeClock) -> None:
    async def wait() -> None:
        async with Deadline(clock, 5):
            await asyncio.get_running_loop().create_future()

    waiting = asyncio.create_task(wait())
    await clock.until_sleeping()
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.1)
    with pytest.raises(TimeoutError):
        await waiting


async def test_a_deadline_can_be_moved_and_cut(clock: FakeClock) -> None:
    async def wait(deadline: Deadline) -> None:
        async with deadline:
            await asyncio.get_running_loop().create_future()

    moved, cut = Deadline(clock, 5), Deadline(clock, 5)
    tasks = [asyncio.create_task(wait(deadline)) for deadline in (moved, cut)]
    await clock.until_sleeping(2)
    moved.restart(50)
    await clock.until_sleeping(2)
    cut.cut()
    with pytest.raises(TimeoutError):
        await tasks[1]
    assert cut.was_cut
    await clock.advance(49)
    assert not tasks[0].done()
    await clock.advance(1)
    with pytest.raises(TimeoutError):
        await tasks[0]


async def test_a_deadline_leaves_a_body_that_ended_in_time_alone(clock: FakeClock) -> None:
    async with Deadline(clock, 5) as deadline:
        await clock.until_sleeping()
    deadline.cut()
    assert not deadline.was_cut
    await clock.advance(10)


# Faults


def test_faults_are_spent_in_order_and_by_kind() -> None:
    faults = Faults()
    faults.inject("a", Fault(kind="throttle"))
    faults.inject("a", Fault(kind="hang", times=2))
    kinds = [faults.take("a", ("hang", "throttle")), faults.take("a", ("throttle",)), faults.take("a", ("hang",))]
    assert [fault and fault.kind for fault in kinds] == ["throttle", None, "hang"]
    assert [fault.times for fault in faults.waiting()["a"]] == [1]
    assert faults.take("b", ("hang",)) is None


# Places of code


def code(prefix: str, bucket: str = "local", entry: str = "main.py") -> Artifact:
    source = {"code": {"s3": {"bucket": bucket, "prefix": prefix}}, "entryPoint": [entry]}
    return Artifact.model_validate({"codeConfiguration": source})


def container(uri: str) -> Artifact:
    return Artifact.model_validate({"containerConfiguration": {"containerUri": uri}})


@pytest.fixture
def root(tmp_path: Path) -> CodeRoot:
    for folder in ("root/team/agent", "root/own/.venv/bin", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("root/team/agent/main.py", "root/own/main.py", "root/own/.venv/bin/python", "outside/main.py"):
        (tmp_path / file).touch()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    return CodeRoot(tmp_path / "root", Path("/usr/bin/python3"))


def test_both_artifacts_name_a_folder_below_the_root(root: CodeRoot) -> None:
    by_code = root.locate(code("team/agent"))
    by_image = root.locate(container("000000000000.dkr.ecr.local.amazonaws.com/team/agent:v1"))
    assert by_code == by_image
    assert (by_code.folder, by_code.entry) == (root.root.resolve() / "team/agent", "main.py")


def test_an_agents_own_environment_wins(root: CodeRoot) -> None:
    assert root.locate(code("own")).python == root.root.resolve() / "own/.venv/bin/python"
    assert root.locate(code("team/agent")).python == Path("/usr/bin/python3")


@pytest.mark.parametrize(
    "artifact",
    [
        code("../outside"),
        code("link"),
        code("/etc"),
        code("team"),
        code("team/agent", bucket="somewhere"),
        code("team/agent", entry="../../own/main.py"),
        container("000000000000.dkr.ecr.eu-west-1.amazonaws.com/team/agent:v1"),
        container("000000000000.dkr.ecr.local.amazonaws.com/../outside:v1"),
    ],
)
def test_nothing_outside_the_root_is_ever_run(root: CodeRoot, artifact: Artifact) -> None:
    with pytest.raises(InvalidRequestError):
        root.locate(artifact)
