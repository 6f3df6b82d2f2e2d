"""echo-agent: gives the prompt back, at once, in slices, or as a job. The smallest agent that shows all three modes."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from lockgate_kit import Agent, Job, Turn

PROGRESS_STEPS = 100
SHORTEST_STEP_S = 0.05
MAX_CHUNKS = 1_000_000
MAX_CHUNK_BYTES = 10_000_000
MAX_DELAY_MS = 3_600_000
MAX_DURATION_S = 28_800

agent = Agent()
app = agent.app


@agent.sync
def answer(payload: object, turn: Turn) -> dict[str, str]:
    """Answer `{"echo": prompt}`."""
    echo = parse(payload)
    if echo.fail_after is not None:
        raise RuntimeError("failed as asked")
    count_words(turn, echo.prompt)
    return {"echo": echo.prompt}


@agent.stream
async def stream(payload: object, turn: Turn) -> AsyncGenerator[dict[str, int | str], None]:
    """Yield `{"index": i, "text": slice}`, `delayMs` apart."""
    echo = parse(payload)
    count_words(turn, echo.prompt)
    texts = slices(echo)
    for index, text in enumerate(texts):
        if index == echo.fail_after:
            raise RuntimeError(f"failed as asked after {index} chunks")
        if index > 0 and echo.delay_s > 0:
            await asyncio.sleep(echo.delay_s)
        yield {"index": index, "text": padded(text, echo.chunk_bytes)}
    if echo.fail_after == len(texts):
        raise RuntimeError(f"failed as asked after {len(texts)} chunks")


@agent.job
async def work(payload: object, job: Job) -> dict[str, str]:
    """Work for `durationS`, reporting percent, then give `{"echo": prompt}`."""
    echo = parse(payload)
    if echo.fail_after is not None:
        raise RuntimeError("failed as asked")
    clock = asyncio.get_running_loop().time
    began = clock()
    job.progress(0, "started")
    while (spent := clock() - began) < echo.duration_s:
        job.progress(100 * spent / echo.duration_s, "working")
        step = max(echo.duration_s / PROGRESS_STEPS, SHORTEST_STEP_S)
        await asyncio.sleep(min(step, echo.duration_s - spent))
    job.progress(100, "done")
    count_words(job, echo.prompt)
    return {"echo": echo.prompt}


def count_words(turn: Turn, prompt: str) -> None:
    """Report usage as a model would: a word in and a word out for each word."""
    words = len(prompt.split())
    turn.usage(input_tokens=words, output_tokens=words)


class InputError(ValueError):
    """The input is not one for this agent; the message says what is wrong."""


@dataclass(frozen=True)
class Echo:
    """A checked input."""

    prompt: str
    chunks: int | None
    chunk_bytes: int | None
    delay_s: float
    duration_s: float
    fail_after: int | None


def parse(payload: object) -> Echo:
    """Read an input; raises InputError with a sentence that names the field."""
    if not isinstance(payload, dict):
        raise InputError('the input must be an object such as {"prompt": "hello"}')
    prompt = payload.get("prompt")
    if not isinstance(prompt, str):
        raise InputError("prompt must be a text")
    return Echo(
        prompt,
        chunks=_whole(payload, "chunks", 1, MAX_CHUNKS),
        chunk_bytes=_whole(payload, "chunkBytes", 1, MAX_CHUNK_BYTES),
        delay_s=_number(payload, "delayMs", MAX_DELAY_MS) / 1000,
        duration_s=_number(payload, "durationS", MAX_DURATION_S),
        fail_after=_whole(payload, "failAfter", 0, MAX_CHUNKS),
    )


def slices(echo: Echo) -> list[str]:
    """Cut the prompt: into words, their spaces kept, or evenly into `chunks`; joined they are the prompt again."""
    if echo.chunks is None:
        words = re.findall(r"\S+\s*", echo.prompt)
        indent = echo.prompt[: len(echo.prompt) - len(echo.prompt.lstrip())]
        return [indent + words[0], *words[1:]] if words else [echo.prompt]
    count, size = echo.chunks, len(echo.prompt)
    return [echo.prompt[size * i // count : size * (i + 1) // count] for i in range(count)]


def padded(text: str, size_bytes: int | None) -> str:
    """Fill a slice up with spaces to `size_bytes` of UTF-8; a longer one stays as it is."""
    return text if size_bytes is None else text + " " * (size_bytes - len(text.encode()))


def _whole(payload: dict[str, object], name: str, least: int, most: int) -> int | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}")
    return value


def _number(payload: dict[str, object], name: str, most: int) -> float:
    value = payload.get(name)
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputError(f"{name} must be a number from 0 to {most}")
    return float(value)


if __name__ == "__main__":
    agent.run()
