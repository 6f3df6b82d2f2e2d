"""A log whose reader does not read."""

import os
import threading

import pytest

from ops.logs import LineWriter


def told(count: int) -> bytes:
    return b"dropped %d" % count


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def read_to_end(end: int) -> bytes:
    with os.fdopen(end, "rb") as reader:
        return reader.read()


def test_lines_are_written_whole_and_in_their_order(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], told)
    for number in range(1000):
        writer.put(b"line %d" % number)
    writer.close()
    os.close(pipe[1])
    assert read_to_end(pipe[0]).splitlines() == [b"line %d" % number for number in range(1000)]
    assert writer.dropped == 0


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_is_dropped_is_told_later(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], told, limit=100)
    line = b"x" * 1000
    for _ in range(5000):
        writer.put(line)
    assert writer.dropped > 0
    writer.close()
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(read_to_end(pipe[0])))
    reading.start()
    writer.put(b"again")
    writer._thread.join(10)
    os.close(pipe[1])
    reading.join(10)
    lines = found[0].splitlines()
    dropped = [int(one.split()[1]) for one in lines if one.startswith(b"dropped ")]
    assert sum(dropped) == writer.dropped
    assert lines.count(line) == 5000 - writer.dropped


def test_a_line_longer_than_a_pipe_takes_at_once_arrives(pipe: tuple[int, int]) -> None:
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(read_to_end(pipe[0])))
    reading.start()
    writer = LineWriter(pipe[1], told)
    writer.put(b"y" * 1_000_000)
    writer._closing.set()
    writer._thread.join(10)
    os.close(pipe[1])
    reading.join(10)
    assert found == [b"y" * 1_000_000 + b"\n"]


def test_a_reader_that_has_gone_is_no_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = LineWriter(pipe[1], told)
    writer.put(b"one")
    writer.close()
    assert not writer._thread.is_alive()
    assert writer.dropped == 1
    os.close(pipe[1])
