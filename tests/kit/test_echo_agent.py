"""echo-agent as AgentCore would call it, without any header of Lockgate's."""

import math

import orjson
import pytest

from tests.kit.conftest import Agents

pytestmark = pytest.mark.stack

SSE = "text/event-stream"


async def events(agents: Agents, payload: object) -> list[dict[str, object]]:
    async with agents.invoke("echo", payload, accept=SSE) as answer:
        assert answer.content_type == SSE
        lines = (await answer.text()).split("\n\n")
    assert lines.pop() == ""
    return [orjson.loads(line.removeprefix("data: ")) for line in lines]


async def test_sync_gives_the_prompt_back(agents: Agents) -> None:
    assert await agents.value("echo", {"prompt": "hé 🔒\n"}) == {"echo": "hé 🔒\n"}


async def test_a_stream_gives_the_words_with_their_spaces(agents: Agents) -> None:
    assert await events(agents, {"prompt": "  one two\n three "}) == [
        {"index": 0, "text": "  one "},
        {"index": 1, "text": "two\n "},
        {"index": 2, "text": "three "},
    ]


@pytest.mark.parametrize("prompt", ["", "   "])
async def test_a_prompt_without_words_is_one_slice(agents: Agents, prompt: str) -> None:
    assert await events(agents, {"prompt": prompt}) == [{"index": 0, "text": prompt}]


@pytest.mark.parametrize("chunks", [1, 3, 10, 25])
async def test_chunks_cut_the_prompt_evenly(agents: Agents, chunks: int) -> None:
    seen = await events(agents, {"prompt": "0123456789", "chunks": chunks, "delayMs": 1})
    texts = [str(event["text"]) for event in seen]
    assert "".join(texts) == "0123456789"
    assert [event["index"] for event in seen] == list(range(chunks))
    assert {len(text) for text in texts} <= {10 // chunks, math.ceil(10 / chunks)}


async def test_chunk_bytes_fill_a_slice_up_and_never_cut_it(agents: Agents) -> None:
    seen = await events(agents, {"prompt": "é longer", "chunkBytes": 5})
    assert [event["text"] for event in seen] == ["é   ", "longer"]


@pytest.mark.parametrize("after", [0, 2, 3])
async def test_fail_after_ends_a_stream_after_that_many_chunks(agents: Agents, after: int) -> None:
    seen = await events(agents, {"prompt": "a b c", "failAfter": after})
    assert [event["index"] for event in seen[:-1]] == list(range(after))
    assert seen[-1]["error_type"] == "RuntimeError"


async def test_fail_after_beyond_the_end_fails_nothing(agents: Agents) -> None:
    assert len(await events(agents, {"prompt": "a b c", "failAfter": 4})) == 3


async def test_fail_after_fails_a_sync_call_at_once(agents: Agents) -> None:
    async with agents.invoke("echo", {"prompt": "a", "failAfter": 9}) as answer:
        assert answer.status == 500


async def test_a_job_reports_progress_and_keeps_its_result(agents: Agents) -> None:
    payload = {"prompt": "a b", "durationS": 0.2}
    begun = await agents.ask("echo", "start", "echo-1", payload)
    assert (begun["state"], begun["ping"], begun["result"]) == ("running", "HealthyBusy", None)
    seen = [begun]
    while seen[-1]["state"] == "running":
        seen.append(await agents.ask("echo", "status", "echo-1"))
    percents = [status["progress"]["percent"] for status in seen if status["progress"]]
    assert percents == sorted(percents)
    assert seen[-1] == {
        "bootId": begun["bootId"],
        "ref": "echo-1",
        "state": "succeeded",
        "ping": seen[-1]["ping"],
        "progress": {"percent": 100, "message": "done"},
        "error": None,
        "usage": {"inputTokens": 2, "outputTokens": 2},
        "result": {"echo": "a b"},
    }


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ("hello", "the input must be an object"),
        ({}, "prompt must be a text"),
        ({"prompt": 1}, "prompt must be a text"),
        ({"prompt": "a", "chunks": 0}, "chunks must be a whole number from 1"),
        ({"prompt": "a", "chunks": True}, "chunks must be a whole number"),
        ({"prompt": "a", "chunkBytes": 1.5}, "chunkBytes must be a whole number"),
        ({"prompt": "a", "delayMs": -1}, "delayMs must be a number from 0"),
        ({"prompt": "a", "durationS": "1"}, "durationS must be a number"),
        ({"prompt": "a", "failAfter": -1}, "failAfter must be a whole number from 0"),
    ],
)
async def test_a_wrong_input_is_named(agents: Agents, payload: object, says: str) -> None:
    async with agents.invoke("echo", payload) as answer:
        assert answer.status == 500
        assert says in (await answer.json())["error"]
