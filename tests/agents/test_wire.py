from collections.abc import Iterable
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import AgentAnswerTooLargeError, StreamInterruptedError
from agents.invocation import AgentChunk, AgentError, AgentEvent
from agents.wire import EventSplitter

LIMIT = 200
ERROR = (
    orjson.dumps({"error": "boom", "error_type": "RuntimeError", "message": "An error occurred during streaming"})
    .replace(b'":"', b'": "')
    .replace(b'","', b'", "')
)

Seen = list[AgentEvent | type[Exception]]


def split(parts: Iterable[bytes], limit_bytes: int = LIMIT) -> Seen:
    """Return the events, and the error that ended them if one did."""
    splitter, seen = EventSplitter(limit_bytes=limit_bytes), Seen()
    try:
        for part in parts:
            seen.extend(splitter.feed(part))
        seen.extend(splitter.finish())
    except (AgentAnswerTooLargeError, StreamInterruptedError) as error:
        seen.append(type(error))
    return seen


def by_the_book(stream: bytes) -> list[bytes]:
    """Return the data of each event as the HTML standard says: line by line."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if line == b"":
            events += [b"\n".join(data)] if data else []
            data = []
        elif line.split(b":")[0] == b"data":
            data.append(line[5:].removeprefix(b" "))
    return events


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


LINES = st.sampled_from(
    [
        b'data: {"a": 1}',
        b"data: " + ERROR,
        b'data: {"error": "x", "message": "An error occurred during streaming"}',
        b"data:no space",
        b"data:  two",
        b"data",
        b"data: " + b"x" * (LIMIT - 6),
        b"data: " + b"x" * (LIMIT - 5),
        b": a comment",
        b":" + b"c" * LIMIT,
        b"event: other",
        b"id: 7",
        b"",
        b"",
        b"",
    ]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@settings(deadline=None)
@given(stream=STREAMS, data=st.data())
def test_where_the_bytes_are_cut_changes_nothing(stream: bytes, data: st.DataObject) -> None:
    at = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert split(cut(stream, at)) == split([stream]) == split(bytes([byte]) for byte in stream)


@settings(deadline=None)
@given(stream=STREAMS, data=st.data())
def test_what_is_an_event_alone_would_have_been_the_same_when_fed(stream: bytes, data: st.DataObject) -> None:
    splitter = EventSplitter(limit_bytes=LIMIT)
    for part in cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=10))):
        alone = splitter.alone(part)
        try:
            fed = list(splitter.feed(part))
        except AgentAnswerTooLargeError:
            assert alone is None
            return
        assert alone is None or fed == [AgentChunk(alone)]


@given(stream=STREAMS.map(lambda stream: stream + b"\n\n"))
def test_events_are_those_of_the_html_standard(stream: bytes) -> None:
    seen = split([stream], limit_bytes=1_000_000)
    assert [ERROR if isinstance(event, AgentError) else event for event in seen] == [
        ERROR if data == ERROR and number == len(seen) - 1 else AgentChunk(data)
        for number, data in enumerate(by_the_book(stream))
    ]


def test_an_event_keeps_its_bytes() -> None:
    data = b'{"float": 1e2,  "same": 1, "same": 2, "not json": }'
    assert split([b"data: " + data + b"\n\n"]) == [AgentChunk(data)]


def test_the_sdk_error_event_is_an_error_when_it_is_last() -> None:
    assert split([b"data: 1\n\ndata: " + ERROR + b"\n\n"]) == [AgentChunk(b"1"), AgentError("RuntimeError")]


def test_what_looks_like_an_error_event_but_is_followed_by_another_is_data() -> None:
    assert split([b"data: " + ERROR + b"\n\n", b"data: 1\n\n"]) == [AgentChunk(ERROR), AgentChunk(b"1")]


@pytest.mark.parametrize(
    "data",
    [
        b'{"error": 1, "error_type": "X", "message": "An error occurred during streaming"}',
        b'{"error": "", "error_type": "X", "more": "", "message": "An error occurred during streaming"}',
        b'{"error": "message": "An error occurred during streaming"}',
    ],
)
def test_an_event_of_another_shape_is_data_even_when_last(data: bytes) -> None:
    assert split([b"data: " + data + b"\n\n"]) == [AgentChunk(data)]


def test_an_event_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    most = b"x" * (LIMIT - len(b"data: "))
    for stream in (b"data: " + most + b"\n\n", b"data: " + most + b"\r\n\r\n"):
        assert split([stream]) == split(bytes([byte]) for byte in stream) == [AgentChunk(most)]
    assert split([b"data: 1\n\ndata: " + most + b"x\n\n"]) == [AgentChunk(b"1"), AgentAnswerTooLargeError]


def test_an_endless_event_is_refused_before_its_end() -> None:
    splitter = EventSplitter(limit_bytes=LIMIT)
    list(splitter.feed(b"data: "))
    with pytest.raises(AgentAnswerTooLargeError):
        list(splitter.feed(b"x" * LIMIT))


def test_endless_heartbeats_never_fill_the_buffer() -> None:
    assert split([b": ping\n"] * LIMIT + [b"data: 1\n\n"]) == [AgentChunk(b"1")]


def test_an_answer_that_ends_inside_a_line_was_interrupted() -> None:
    assert split([b'data: 1\n\ndata: {"a']) == [AgentChunk(b"1"), StreamInterruptedError]


def test_an_answer_that_ends_after_a_whole_line_is_whole() -> None:
    assert split([b"data: 1\n"]) == [AgentChunk(b"1")]
