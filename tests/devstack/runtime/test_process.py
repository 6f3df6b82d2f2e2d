"""The local AgentCore as processes: the command lines, the newest SDK, and what sudden deaths leave behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from ops.devstack.process import free_port, listens, spawn, stop, until_ready
from ops.devstack.runtime.server import LocalAgentCore, Options
from tests.devstack.runtime.processes import process_lives, until_dead
from tests.devstack.runtime.sdk import AGENTS, PYTHON, Sdk, session_id

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

NEWEST_SDK = """
import json, sys
import boto3
data, control = (boto3.client(name, region_name="eu-west-1", endpoint_url=url, aws_access_key_id="a",
    aws_secret_access_key="b") for name, url in zip(("bedrock-agentcore", "bedrock-agentcore-control"), sys.argv[1:]))
code = {"s3": {"bucket": "local", "prefix": "sdk"}}
made = control.create_agent_runtime(agentRuntimeName="agent", agentRuntimeArtifact={"codeConfiguration": {
    "code": code, "runtime": "PYTHON_3_11", "entryPoint": ["main.py"]}},
    roleArn="arn:aws:iam::000000000000:role/agent", networkConfiguration={"networkMode": "PUBLIC"})
while control.get_agent_runtime(agentRuntimeId=made["agentRuntimeId"])["status"] == "CREATING":
    pass
answer = data.invoke_agent_runtime(agentRuntimeArn=made["agentRuntimeArn"], payload=b"{}")
print(json.dumps({"said": json.loads(answer["response"].read()), "session": answer["runtimeSessionId"]}))
"""


@dataclass
class Running:
    """`python -m ops.devstack.runtime`, and where it listens."""

    process: asyncio.subprocess.Process
    data: int
    control: int


@pytest_asyncio.fixture(loop_scope="session")
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    data, control, log = free_port(), free_port(), tmp_path / "log"
    argv: list[str | Path] = [
        *(sys.executable, "-m", "ops.devstack.runtime", "--data-port", str(data), "--control-port", str(control)),
        *("--state", tmp_path / "state", "--code-root", AGENTS, "--python", PYTHON),
    ]
    process = await spawn(argv, env={}, log=log)
    await until_ready("runtime", process, lambda: listens(control), log=log, fix="read it")
    yield Running(process, data, control)
    await stop(process)


async def test_the_newest_sdk_drives_it_with_a_code_configuration(running: Running) -> None:
    child = await asyncio.create_subprocess_exec(
        *(PYTHON, "-c", NEWEST_SDK, f"http://127.0.0.1:{running.data}", f"http://127.0.0.1:{running.control}"),
        stdout=subprocess.PIPE,
    )
    output, _ = await child.communicate()
    answer = orjson.loads(output)
    assert answer["said"]["session"] == answer["session"]


async def test_nothing_outlives_a_runtime_that_is_killed(running: Running, http: ClientSession) -> None:
    agent, zygote = await agent_and_parent(running, http)
    running.process.kill()
    await running.process.wait()
    await until_dead(agent)
    await until_dead(zygote)


async def test_a_runtime_told_to_end_ends_its_processes_and_exits_with_zero(
    running: Running, http: ClientSession
) -> None:
    agent, zygote = await agent_and_parent(running, http)
    running.process.send_signal(signal.SIGTERM)
    assert await running.process.wait() == 0
    assert not process_lives(agent)
    assert not process_lives(zygote)


async def test_a_parent_that_dies_takes_its_sessions_along_and_is_replaced(tmp_path: Path) -> None:
    async with LocalAgentCore(Options(state=tmp_path, code_root=AGENTS, python=PYTHON)) as core:
        sdk = Sdk(core)
        arn = await sdk.create("agent", "sdk")
        before = (await sdk.invoke(arn, "tell", session_id("a")))["pid"]
        [session] = core.supervisor.sessions()
        signal_parent(before, signal.SIGKILL)
        await asyncio.shield(session.running().exited)
        await until_dead(before)
        while core.supervisor.sessions():
            await asyncio.sleep(0)
        assert (await sdk.invoke(arn, "tell", session_id("a")))["pid"] != before


async def test_the_command_registers_a_folder_and_says_how_to_call_it(tmp_path: Path, http: ClientSession) -> None:
    argv: list[str | Path] = [
        *("-m", "ops.cli.main", "runtime", "--agent", AGENTS / "sdk", "--python", PYTHON, "--code-root", AGENTS)
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *argv, "--state", tmp_path, "--data-port", "0", "--control-port", "0"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    said = (await process.stdout.readuntil(b"Ctrl-C")).decode()
    curl = next(line for line in said.splitlines() if "curl" in line)
    child = await asyncio.create_subprocess_shell(curl, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output, _ = await child.communicate()
    assert orjson.loads(output)["environment"]["AWS_REGION"] == "eu-west-1"
    process.send_signal(signal.SIGINT)
    await process.stdout.read()
    assert await process.wait() == 0


async def test_a_taken_port_is_said_in_a_sentence(running: Running, tmp_path: Path) -> None:
    argv: list[str | Path] = [
        "-m",
        "ops.devstack.runtime",
        "--state",
        tmp_path / "other",
        "--data-port",
        str(running.data),
    ]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, stderr=subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().strip().startswith(f"port {running.data} is taken")


async def agent_and_parent(running: Running, http: ClientSession) -> tuple[int, int]:
    """Start a session; return the numbers of its process and of that one's parent."""
    wish = {
        "agentRuntimeName": "agent",
        "agentRuntimeArtifact": {
            "codeConfiguration": {"code": {"s3": {"bucket": "local", "prefix": "sdk"}}, "entryPoint": ["main.py"]}
        },
        "roleArn": "arn:aws:iam::000000000000:role/agent",
        "networkConfiguration": {"networkMode": "PUBLIC"},
    }
    async with http.put(f"http://127.0.0.1:{running.control}/runtimes/", json=wish) as answer:
        runtime_id = (await answer.json())["agentRuntimeId"]
    url = f"http://127.0.0.1:{running.data}/runtimes/{runtime_id}/invocations?accountId=000000000000"
    while True:
        async with http.post(url, data=b"{}") as answer:
            if answer.status == 200:
                agent: int = (await answer.json())["pid"]
                return agent, parent_of(agent)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def signal_parent(pid: int, number: signal.Signals) -> None:
    os.kill(parent_of(pid), number)
