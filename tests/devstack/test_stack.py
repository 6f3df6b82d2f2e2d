"""A whole stack by the command users start, from its first line to its last."""

import asyncio
import os
import shlex
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession

from ops.devstack.dev_files import DevFile, read_dev_file
from ops.devstack.layout import Layout
from ops.devstack.ports import Ports
from ops.devstack.process import listens
from tenancy.data_models import Mode
from tenancy.ids import TenantId
from tests.devstack.terminal import Terminal, alive, descendants, dev_up

pytestmark = pytest.mark.stack

PROMPT = "One vessel passes at a time"
PARTS = {"redis", "store", "issuer", "runtime", "runtime-failover", "receiver", "tools", "worker", "gateway"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state for the module: the second start finds what the first left."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
async def terminal(state: Path) -> AsyncIterator[Terminal]:
    async with dev_up(state) as running:
        yield running


def dev_file(state: Path) -> DevFile:
    found = read_dev_file(Layout(state))
    assert found is not None
    return found


async def test_a_stack_from_its_first_line_to_its_last(terminal: Terminal, state: Path) -> None:
    await terminal.until("Ctrl-C stops everything.")
    printed = "\n".join(terminal.lines)
    dev = dev_file(state)

    _the_three_modes_are_shown(terminal.lines)
    _the_files_describe_the_stack(dev, terminal, state)
    assert all(tenant.token in printed for tenant in dev.tenants.values())
    await _the_curl_streams_when_pasted(terminal.lines)
    job = await _a_job_of(dev)
    await _a_killed_worker_is_reported_and_comes_back(terminal, dev, state)
    await _status_agrees(terminal, state)
    await _a_part_that_hangs_is_named(terminal, dev)
    await _a_second_stack_is_refused(terminal)
    await _ctrl_c_leaves_nothing(terminal, state)

    async with dev_up(state) as again:
        await again.until("Ctrl-C stops everything.")
        await _the_job_is_still_there(dev_file(state), job)
        again.process.send_signal(signal.SIGTERM)
        assert await again.process.wait() == 0


def _the_three_modes_are_shown(lines: list[str]) -> None:
    sync, stream, job = (
        next(number for number, line in enumerate(lines) if line.startswith(f"  {mode:<8}")) for mode in Mode
    )
    assert _json(lines[sync + 1]) == {"echo": PROMPT}
    words = [_json(line) for line in lines[stream + 1 : stream + 1 + len(PROMPT.split())]]
    assert [word["index"] for word in words] == list(range(len(words)))
    assert "".join(str(word["text"]) for word in words) == PROMPT
    (result,) = (line for line in lines[job:] if "succeeded  " in line)
    assert _json(result.replace("succeeded  ", "")) == {"echo": PROMPT}
    (told,) = (line for line in lines[job:] if "delivered  " in line)
    assert "delivered  job.succeeded by webhook, signature verified" in told


def _json(line: str) -> dict[str, object]:
    found: dict[str, object] = orjson.loads(line.split("ms  ")[1])
    return found


def _the_files_describe_the_stack(dev: DevFile, terminal: Terminal, state: Path) -> None:
    ports = Ports.documented(int(terminal.variables["PORT_OFFSET"]))
    assert (dev.gateway, dev.private) == (ports.url("gateway"), ports.url("private"))
    assert {name: tenant.tier for name, tenant in dev.tenants.items()} == {"acme": "premium", "globex": "basic"}
    assert set(dev.pids) == PARTS
    assert set(dev.pids.values()) <= descendants(terminal.process.pid)
    variables = dict(line.split("=", 1) for line in Layout(state).dev_env.read_text().splitlines())
    assert variables["LOCKGATE_REDIS_URL"] == f"redis://127.0.0.1:{ports.redis}/0"
    assert variables["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"] == dev.runtime


async def _the_curl_streams_when_pasted(lines: list[str]) -> None:
    (curl,) = (line for line in lines if line.startswith("curl "))
    assert "-sN" in shlex.split(curl)
    shell = await asyncio.create_subprocess_exec("/bin/sh", "-c", curl, stdout=PIPE, env={"PATH": os.defpath})
    out, _ = await shell.communicate()
    assert shell.returncode == 0
    assert out.decode().count("event: agent.chunk") == 9  # a word each
    assert "event: invocation.completed" in out.decode()


async def _a_job_of(dev: DevFile) -> str:
    """Return the id of the demonstration's job."""
    listed = await _get(dev, "/v1/jobs")
    (job,) = (value for value in listed.values() if isinstance(value, list))
    return str(job[0]["jobId"])


async def _the_job_is_still_there(dev: DevFile, job: str) -> None:
    assert (await _get(dev, f"/v1/jobs/{job}"))["status"] == "succeeded"


async def _get(dev: DevFile, path: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {dev.tenants[TenantId('acme')].token}"}
    async with ClientSession() as session, session.get(dev.gateway + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, object] = orjson.loads(await answer.read())
        return found


async def _a_killed_worker_is_reported_and_comes_back(terminal: Terminal, dev: DevFile, state: Path) -> None:
    os.kill(dev.pids["worker"], signal.SIGKILL)
    assert "died (signal 9: Killed)" in await terminal.until("worker died")
    assert "dev start worker" in await terminal.until("bring it back:")
    assert "worker" not in dev_file(state).pids
    code, out, _ = await terminal.other("start", "worker")
    pid = dev_file(state).pids["worker"]
    assert (code, out) == (0, f"worker is up again (pid {pid})\n")
    assert pid != dev.pids["worker"]


async def _status_agrees(terminal: Terminal, state: Path) -> None:
    _, table, _ = await terminal.other("status")
    for part, pid in dev_file(state).pids.items():
        row = next(line for line in table.splitlines() if line.startswith(part))
        assert row.split()[1:3] == ["ready", str(pid)]
        assert row.split()[-1] == str(Layout(state).log(part))
    code, out, err = await terminal.other("status", "--json")
    assert code == 0, err
    parts = {part["name"]: part for part in orjson.loads(out)["parts"]}
    assert {name: part["pid"] for name, part in parts.items()} == dict(dev_file(state).pids)
    assert {name for name, part in parts.items() if part["healthy"]} == PARTS


async def _a_part_that_hangs_is_named(terminal: Terminal, dev: DevFile) -> None:
    hanging = ("redis", "store", "issuer", "runtime", "receiver")
    for name in hanging:
        os.kill(dev.pids[name], signal.SIGSTOP)
    code, out, _ = await terminal.other("status", "--json")
    for name in hanging:
        os.kill(dev.pids[name], signal.SIGCONT)
    healthy = {part["name"]: part["healthy"] for part in orjson.loads(out)["parts"]}
    assert (code, [healthy[name] for name in hanging]) == (1, [False] * 5)


async def _a_second_stack_is_refused(terminal: Terminal) -> None:
    code, _, err = await terminal.other("up")
    assert code == 1
    assert f"already (pid {terminal.process.pid})" in err


async def _ctrl_c_leaves_nothing(terminal: Terminal, state: Path) -> None:
    started = descendants(terminal.process.pid)
    assert len(started) > len(PARTS), "no agent process is there to be ended"
    terminal.process.send_signal(signal.SIGINT)
    await terminal.until("everything is stopped")
    assert await terminal.process.wait() == 0
    assert alive(started) == set()
    assert not Layout(state).dev_json.exists()
    assert not await listens(Ports.documented(int(terminal.variables["PORT_OFFSET"])).gateway)
