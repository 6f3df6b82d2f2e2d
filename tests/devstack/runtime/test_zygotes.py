"""Zygotes that are not wanted any more before they are ready."""

import asyncio
import logging
from pathlib import Path

import pytest

from ops.devstack.runtime.zygotes import Zygotes
from tests.devstack.runtime.processes import until_dead

SILENT = """#!/bin/sh
echo $$ > "$0.new" && mv "$0.new" "$0.pid"
exec sleep 600
"""


async def test_a_zygote_that_is_closed_while_it_starts_is_gone_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    python, pid_file = tmp_path / "python", tmp_path / "python.pid"
    python.write_text(SILENT)
    python.chmod(0o700)
    zygotes = Zygotes(tmp_path / "log")
    starting = asyncio.create_task(zygotes.get(python))
    async with asyncio.timeout(60):
        while not pid_file.exists():
            await asyncio.sleep(0.01)
    with caplog.at_level(logging.ERROR):
        await zygotes.aclose()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert caplog.records == []
    await until_dead(int(pid_file.read_text()))
