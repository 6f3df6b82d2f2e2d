"""The quick start's stream readers, on streams that a healthy gateway never sends."""

from pathlib import Path

import orjson
import pytest

from tests.docs.papers import pages
from tests.docs.tour import JAVASCRIPT, PYTHON, Language, steps, walk

PAGE = pages()["docs/QUICKSTART.md"]
STARTED = 'retry: 2000\nid: 1\nevent: invocation.started\ndata: {"invocationId": "inv_0"}\n\n'
CHUNK = 'id: 2\nevent: agent.chunk\ndata: {"text":\ndata: "one: two"}\n\n'
NEW_KIND = "id: 3\nevent: agent.thought\ndata: {}\n\n"
END = 'id: 4\nevent: invocation.completed\ndata: {"status": "succeeded"}\n\n'
SEEN = ["1 invocation.started", "2 agent.chunk", "3 agent.thought", "4 invocation.completed"]

# Where its reader is, and a program that reads a stream with it.
READERS = {
    "Python": (
        PYTHON,
        """
try:
    for number, name, data in events(%s.encode().splitlines(keepends=True)):
        print(number, name)
except ConnectionError as cut:
    print(cut)
""",
    ),
    "JavaScript": (
        JAVASCRIPT,
        """
try {
  for await (const { id, event } of events(new Response(%s).body)) console.log(id, event);
} catch (cut) {
  console.log(cut.message);
}
""",
    ),
}


def reader(section: str, language: Language) -> str:
    [script] = [script for script, _ in steps(PAGE, section, language) if "ENDS =" in script]
    return script


@pytest.mark.parametrize("section", READERS)
@pytest.mark.parametrize(
    ("stream", "seen"),
    [
        (STARTED + CHUNK + NEW_KIND + END, SEEN),
        (STARTED + ": keep-alive\n\n" + CHUNK + ": keep-alive\n\n" + NEW_KIND + END, SEEN),
        (STARTED + CHUNK + STARTED + CHUNK + NEW_KIND + END, SEEN),
        (STARTED + CHUNK, [*SEEN[:2], "the stream was cut after event 2"]),
        (STARTED + CHUNK[:-1], [SEEN[0], "the stream was cut after event 1"]),
        ("", ["the stream was cut after event 0"]),
    ],
    ids=["whole", "with heartbeats", "told twice", "cut between events", "cut in an event", "nothing"],
)
async def test_a_reader_takes_each_event_once_and_notices_a_cut(
    tmp_path: Path, section: str, stream: str, seen: list[str]
) -> None:
    language, program = READERS[section]
    script = f"import json\n{reader(section, language)}" if language is PYTHON else reader(section, language)
    [said] = await walk([script + program % orjson.dumps(stream).decode()], tmp_path, language)
    assert said.splitlines() == seen
