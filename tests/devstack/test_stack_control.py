import asyncio
import stat
from pathlib import Path

import pytest

from ops.devstack.control import PartReport, Reply, Request, ask, choose_socket, listening
from ops.devstack.layout import StackNotRunningError
from ops.devstack.parts import State

REPORT = PartReport(name="worker", state=State.READY, pid=7, ports=(), healthy=None, log="/log")


async def answer(request: Request) -> Reply:
    return Reply(ok=request.part == "worker", detail=f"{request.verb} {request.part}", parts=(REPORT,))


async def test_a_request_gets_its_reply_over_a_socket_of_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "dev.sock"
    async with listening(path, answer):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await ask(path, Request(verb="start", part="worker")) == Reply(
            ok=True, detail="start worker", parts=(REPORT,)
        )
    assert not path.exists()


async def test_a_socket_left_by_a_killed_stack_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "dev.sock"
    path.touch()
    async with listening(path, answer):
        assert (await ask(path, Request(verb="status"))).detail == "status "


async def test_where_nothing_listens_no_stack_runs(tmp_path: Path) -> None:
    with pytest.raises(StackNotRunningError, match="make dev"):
        await ask(tmp_path / "dev.sock", Request(verb="status"))


async def test_what_is_no_request_is_refused_and_the_stack_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "dev.sock"
    async with listening(path, answer):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"verb": "explode"}\n')
        assert not Reply.model_validate_json(await reader.readline()).ok
        writer.close()
        assert (await ask(path, Request(verb="start", part="worker"))).ok


async def test_a_state_too_deep_for_a_socket_gets_one_elsewhere_that_leaves_no_trace(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    path = choose_socket(deep)
    assert path.parent != deep
    assert len(bytes(path)) <= 100
    async with listening(path, answer):
        assert (await ask(path, Request(verb="start", part="worker"))).ok
    assert not path.parent.exists()


def test_a_near_state_has_its_socket_inside(tmp_path: Path) -> None:
    near = Path("/tmp/s")  # noqa: S108  # a name only, nothing is made there
    assert choose_socket(near) == near / "dev.sock"
