import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from agents.catalog import KIND, STALE_S, Catalog
from agents.errors import AgentUnknownError
from tenancy.changes import ChangeFeed
from tenancy.data_models import AgentVersion, ReleaseState
from tenancy.ids import AgentName
from tenancy.platform_store import PlatformStore
from tests.agents.given import agent
from tests.clock import FakeClock
from tests.conftest import Aws


@dataclass(frozen=True)
class Process:
    """One process's catalog and its feed."""

    catalog: Catalog
    changes: ChangeFeed


@pytest.fixture
async def processes(aws: Aws, redis_url: str, clock: FakeClock) -> AsyncIterator[list[Process]]:
    async with Redis.from_url(redis_url) as redis:
        store = PlatformStore(aws.dynamodb, table_prefix=aws.table_prefix, on_violation=lambda _: None)
        feeds = [ChangeFeed(redis, clock=clock) for _ in range(2)]
        processes = [Process(Catalog(store, feed, clock=clock), feed) for feed in feeds]
        yield processes
        for process in processes:
            await process.catalog.aclose()


@pytest.fixture
def catalog(processes: list[Process]) -> Catalog:
    return processes[0].catalog


@pytest.fixture
def name() -> AgentName:
    """Return an agent no other test has."""
    return AgentName("a" + secrets.token_hex(8))


def version(name: AgentName, number: str, state: ReleaseState = ReleaseState.PROMOTED) -> AgentVersion:
    return agent().model_copy(update={"name": name, "version": number, "state": state})


async def register(catalog: Catalog, *versions: AgentVersion) -> None:
    for one in versions:
        await catalog.register(one)


async def test_the_newest_promoted_version_is_newest_by_number(catalog: Catalog, name: AgentName) -> None:
    numbers = ("1.9.0", "1.10.0", "1.2.11")
    await register(catalog, *(version(name, number) for number in numbers))
    await catalog.register(version(name, "2.0.0", ReleaseState.APPROVED))
    assert (await catalog.get(name)).version == "1.10.0"


async def test_the_list_holds_the_newest_of_each_by_name(catalog: Catalog, name: AgentName) -> None:
    other = AgentName(name + "-b")
    await register(catalog, version(other, "0.1.0"), version(name, "1.0.0"), version(name, "1.1.0"))
    ours = [(one.name, one.version) for one in await catalog.list() if one.name.startswith(name)]
    assert ours == [(name, "1.1.0"), (other, "0.1.0")]


@pytest.mark.parametrize("state", [ReleaseState.PROMOTED, ReleaseState.ROLLED_BACK])
async def test_a_conversation_keeps_the_version_it_began_with(
    catalog: Catalog, name: AgentName, state: ReleaseState
) -> None:
    await register(catalog, version(name, "1.0.0", state), version(name, "2.0.0"))
    assert (await catalog.get(name, "1.0.0")).version == "1.0.0"


@pytest.mark.parametrize("state", [state for state in ReleaseState if state not in ("promoted", "rolled_back")])
async def test_a_version_that_was_never_promoted_or_is_disabled_is_unknown(
    catalog: Catalog, name: AgentName, state: ReleaseState
) -> None:
    await catalog.register(version(name, "1.0.0", state))
    with pytest.raises(AgentUnknownError):
        await catalog.get(name)
    with pytest.raises(AgentUnknownError):
        await catalog.get(name, "1.0.0")


async def test_a_change_on_one_process_is_seen_on_another(processes: list[Process], name: AgentName) -> None:
    here, there = processes
    await here.catalog.register(version(name, "1.0.0"))
    assert (await there.catalog.get(name)).version == "1.0.0"
    listening, told = asyncio.Event(), asyncio.Event()
    there.changes.on_gap(listening.set)
    there.changes.on(KIND, lambda _: told.set())
    listener = asyncio.create_task(there.changes.run())
    await listening.wait()
    assert (await there.catalog.get(name)).version == "1.0.0"
    await here.catalog.register(version(name, "2.0.0"))
    await told.wait()
    assert (await there.catalog.get(name)).version == "2.0.0"
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_a_change_nobody_told_is_seen_once_copies_are_too_old(
    processes: list[Process], name: AgentName, clock: FakeClock
) -> None:
    here, there = processes
    await here.catalog.register(version(name, "1.0.0"))
    await there.catalog.get(name)
    await here.catalog.register(version(name, "2.0.0"))
    assert (await there.catalog.get(name)).version == "1.0.0"
    await clock.advance(STALE_S)
    assert (await there.catalog.get(name)).version == "2.0.0"
