"""Commands in forks of a process that has imported them: what they get and give is the caller's."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.runbooks.commands import commands


@pytest.fixture
async def program() -> AsyncIterator[Path]:
    async with commands({"PATH": os.environ["PATH"]}) as folder:
        yield folder / "lockgate"


async def run(*command: str | Path, **variables: str) -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=variables)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_command_answers_as_if_it_had_been_started(program: Path) -> None:
    assert await run(program, "--version") == (0, "lockgate 0.1.0\n", "")
    code, out, err = await run(program, "tenant", "show", "NOT ONE")
    assert (code, out, "not a valid tenant id" in err) == (2, "", True)


async def test_a_command_has_its_callers_variables(program: Path) -> None:
    assert "ENV=prod needs" in (await run(program, "tenant", "list", ENV="prod"))[2]
    assert "no stack runs on /nowhere" in (await run(program, "tenant", "list", LOCKGATE_DEV_STATE="/nowhere"))[2]


async def test_commands_do_not_know_of_each_other(program: Path) -> None:
    answers = await asyncio.gather(*(run(program, "runbook", "show", number) for number in ("006", "999")))
    assert [code for code, _, _ in answers] == [0, 1]
    assert "# Budget and suspension" in answers[0][1]
