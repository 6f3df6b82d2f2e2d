"""The receivers on the webhooks page, run as they stand there and sent what Lockgate sends; and the page's numbers."""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import get_args

import orjson
import pytest
from aiohttp import ClientSession

from gateway.app import operations
from gateway.webhook_schemas import EventName
from ops.devstack.process import free_port, listens, spawn, stop, until_ready
from tenancy.clock import SystemClock
from tests.docs.papers import pages
from tests.docs.tour import JAVASCRIPT, PYTHON, Language, steps
from webhooks import room, schedule, sender
from webhooks.deliveries import KEPT
from webhooks.endpoints import ENDPOINT_LIMIT, OVERLAP_DEFAULT, OVERLAP_LIMIT
from webhooks.events import EVENT_TYPES
from webhooks.signing import new_secret, signed_headers
from webhooks.urls import PORTS

PAGE = pages()["docs/WEBHOOKS.md"]
DATA = {"jobId": "job_01jd3k5m7p9q1r3s5t7v9w1x3y", "status": "succeeded"}
BODY = orjson.dumps({"type": "job.succeeded", "timestamp": "2025-06-01T12:00:00Z", "data": DATA})
SECRET, OLD = new_secret(), new_secret()
LINES_AT_MOST = 20
LANGUAGES = pytest.mark.parametrize("language", [PYTHON, JAVASCRIPT], ids=["Python", "JavaScript"])


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver of the page, running."""

    url: str
    log: Path

    async def sent(self, headers: dict[str, str], body: bytes = BODY) -> int:
        """Deliver, and return what the receiver answers."""
        async with ClientSession() as session, session.post(self.url, data=body, headers=headers) as answer:
            return answer.status

    @property
    def said(self) -> list[str]:
        """What the receiver printed of events."""
        return [line for line in self.log.read_text().splitlines() if line.startswith("job.")]


def receiver(language: Language) -> str:
    """Return the page's receiver in this language."""
    [(script, _)] = steps(PAGE, "Receive", language)
    return script


@asynccontextmanager
async def running(language: Language, folder: Path) -> AsyncIterator[Running]:
    """Run a receiver that knows SECRET."""
    port, log = free_port(), folder / "log"
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    process = await spawn([*language.command, receiver(language)], env=env, log=log)
    try:
        await until_ready("receiver", process, lambda: listens(port), log=log, fix="see its log")
        yield Running(f"http://127.0.0.1:{port}/lockgate", log)
    finally:
        await stop(process)


def signed(*secrets: str, age: timedelta = timedelta(0), body: bytes = BODY) -> dict[str, str]:
    return signed_headers(secrets, "evt_1", SystemClock().now() - age, body) | {"Content-Type": "application/json"}


@LANGUAGES
async def test_a_signed_event_is_taken_once_however_often_it_comes(language: Language, tmp_path: Path) -> None:
    async with running(language, tmp_path) as one:
        assert [await one.sent(signed(SECRET)) for _ in range(3)] == [204, 204, 204]
        assert len(one.said) == 1
        assert one.said[0].startswith("job.succeeded ")
        assert DATA["jobId"] in one.said[0]


@LANGUAGES
async def test_what_is_not_signed_for_it_is_refused_and_not_looked_at(language: Language, tmp_path: Path) -> None:
    async with running(language, tmp_path) as one:
        refused = [
            signed(OLD),
            signed(SECRET, body=BODY.replace(b"succeeded", b"failed")),
            signed(SECRET) | {"webhook-id": "evt_2"},
            signed(SECRET, age=timedelta(minutes=6)),
            signed(SECRET, age=-timedelta(minutes=6)),
            signed(SECRET) | {"webhook-signature": "v1,AAAA"},
            signed(SECRET) | {"webhook-signature": "nothing"},
            {"Content-Type": "application/json"},
        ]
        assert [await one.sent(headers) for headers in refused] == [401] * len(refused)
        assert one.said == []


@LANGUAGES
async def test_during_a_rotation_either_secret_is_enough(language: Language, tmp_path: Path) -> None:
    async with running(language, tmp_path) as one:
        assert await one.sent(signed(OLD, SECRET)) == 204
        assert await one.sent(signed(SECRET, OLD)) == 204


def test_the_first_receiver_is_short() -> None:
    assert len([line for line in receiver(PYTHON).splitlines() if line.strip()]) <= LINES_AT_MOST


async def test_the_scripts_of_the_page_are_shell(tmp_path: Path) -> None:
    for script, _ in steps(PAGE, "Try it"):
        shell = await asyncio.create_subprocess_exec("bash", "-n", "-c", script, stderr=PIPE)
        assert await shell.wait() == 0


def test_every_call_of_the_page_is_one_of_the_api_and_every_one_is_on_the_page() -> None:
    described = {
        f"{operation.method} {operation.path}".replace("{webhook}", "{id}").replace("{delivery}", "{id}")
        for operation in operations()
        if operation.tag == "Webhooks"
    }
    named = {
        span
        for row in (PAGE.section("The API") or "").splitlines()
        for span in row.split("`")
        if span.startswith(("GET /v1", "POST /v1", "PATCH /v1", "DELETE /v1"))
    }
    assert named == described


def test_every_type_of_event_is_on_the_page_and_in_the_api() -> None:
    rows = [line.split("`")[1] for line in (PAGE.section("What is sent") or "").splitlines() if line.startswith("| `")]
    assert set(rows) == set(get_args(EventName)) == EVENT_TYPES


def test_the_page_s_schedule_is_the_code_s() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    [row] = [line for line in PAGE.text.splitlines() if line.startswith("| after |")]
    told = [cell.split() for cell in row.strip("|").split(" | ")[1:]]
    assert [int(number) * units[unit] for number, unit in told] == list(schedule.PAUSES_S)


def test_the_page_s_numbers_are_the_code_s() -> None:
    said = " ".join(PAGE.text.split())
    for sentence in (
        f"A tenant may have {ENDPOINT_LIMIT} webhooks.",
        f"The log keeps deliveries for {KEPT.days} days.",
        f"an attempt ends after {sender.DEADLINE_S:.0f} s",
        f"{sender.READ_LIMIT_BYTES // 1024} KB of an answer are read",
        f"`overlapSeconds` from 0 to {OVERLAP_LIMIT.total_seconds():,.0f}, a day unless said",
        f"with {schedule.JITTER:.0%} of chance".replace("%", " %"),
        f"it is tried once in {room.OPEN_S:.0f} s",
        f"on port {' or '.join(map(str, sorted(PORTS)))}",
    ):
        assert sentence in said, sentence
    assert timedelta(days=1) == OVERLAP_DEFAULT
    assert (room.PER_ENDPOINT, room.FAILURES_TO_OPEN, schedule.DISABLE_AFTER.days) == (5, 5, 5)
    assert schedule.THROTTLED_PAUSE_S == 60
    assert schedule.ATTEMPTS == 10
