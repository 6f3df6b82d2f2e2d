"""What the processes write down: every request, and nothing that a tenant, an agent or a token said."""

import asyncio
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession
from yarl import URL

from ops.devstack.stack import Stack
from tenancy.ids import TenantId
from tests.flows.conftest import ECHO, Caller
from tests.flows.test_three_modes import until_ended

pytestmark = pytest.mark.stack

SAID = "spoken-by-a-tenant"
PROCESSES = ("gateway", "worker")


def lines(log: Path) -> list[dict[str, object]]:
    """Return a process's log, each line of which is a JSON object."""
    return [orjson.loads(line) for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


async def until_logged(log: Path, request_id: str) -> None:
    """Return once a request's line is in the log: it is written beside the answer."""
    async with asyncio.timeout(10):
        while not any(line["event"] == "request" and line["request"] == request_id for line in lines(log)):
            await asyncio.sleep(0.02)


async def test_neither_token_nor_payload_nor_forged_line_is_in_any_log(stack: Stack, acme: Caller) -> None:
    said = {"prompt": SAID, "failAfter": 0}
    forged = f'{SAID}\n{{"event":"request","request":"{SAID}"}}'
    await acme.post(ECHO, {"input": {"prompt": SAID}, "metadata": {"note": SAID}})
    await acme.post(ECHO, {"input": said})
    assert [event.name async for event in acme.stream({"input": said})][-1] == "invocation.failed"
    _, job = await acme.post(ECHO, {"input": said}, {"Prefer": "respond-async"})
    await until_ended(acme, f"/v1/jobs/{job['jobId']}")
    path = URL(stack.gateway, encoded=True).with_path(f"/v1/jobs/{forged}").with_query(cursor=forged)
    async with acme.session.get(path, headers={"User-Agent": SAID, "Referer": SAID}) as answer:
        assert answer.status == 404
    async with ClientSession() as stranger:
        bad = {"Authorization": f"Bearer {SAID}.{SAID}.{SAID}", "X-Request-Id": f"{SAID} {SAID}"}
        async with stranger.get(f"{stack.gateway}/v1/me", headers=bad) as answer:
            assert answer.status == 401
            await until_logged(stack.layout.log("gateway"), answer.headers["X-Request-Id"])
    token = stack.tenants[TenantId("acme")].token
    for process in PROCESSES:
        log = stack.layout.log(process)
        assert len(lines(log)) > 0
        text = log.read_text()
        assert [
            secret for secret in (SAID, token, token.split(".")[2], stack.layout.keys().secret_key) if secret in text
        ] == []
