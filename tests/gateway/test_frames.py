"""Pieces of a log: cut and joined anywhere, they give the very bytes that follow an event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import Frames, joined
from gateway.sse import frame

DATA = st.lists(st.binary(max_size=12), min_size=1, max_size=12)


def framed(data: list[bytes]) -> list[bytes]:
    return [frame(number, b"agent.chunk", each) for number, each in enumerate(data, 1)]


def piece(frames: list[bytes], first: int, last: int) -> Frames:
    return Frames.ending(last, b"".join(frames[first - 1 : last]))


@given(DATA, st.data())
def test_what_follows_an_event_is_the_same_however_the_log_is_cut(data: list[bytes], draw: st.DataObject) -> None:
    frames, at, pieces = framed(data), 0, []
    while at < len(frames):
        # Pieces may overlap: a merged segment holds what the old ones held.
        first = draw.draw(st.integers(max(1, at - 2), at + 1))
        at = draw.draw(st.integers(at + 1, len(frames)))
        pieces.append(piece(frames, first, at))
    after = draw.draw(st.integers(0, len(frames)))
    found = joined(pieces, after)
    expected = b"".join(frames[after:])
    assert (b"" if found is None else found.data) == expected
    assert found is None or (found.first, found.last) == (after + 1, len(frames))


@given(DATA, st.data())
def test_nothing_behind_a_gap_is_taken(data: list[bytes], draw: st.DataObject) -> None:
    frames = framed([*data, b"lost", b"later"])
    gap = draw.draw(st.integers(1, len(frames) - 1))
    pieces = [piece(frames, 1, gap - 1)] if gap > 1 else []
    found = joined([*pieces, piece(frames, gap + 1, len(frames))], 0)
    assert (b"" if found is None else found.data) == b"".join(frames[: gap - 1])


@pytest.mark.parametrize("name", ["invocation.completed", "invocation.failed", "invocation.cancelled"])
def test_a_terminal_event_ends_a_piece(name: str) -> None:
    assert Frames(1, 1, frame(1, name.encode(), b"{}")).ends
    assert Frames(1, 2, frame(1, b"agent.chunk", b"1") + frame(2, name.encode(), b"{}")).ends


@given(st.binary(max_size=40))
def test_what_an_agent_says_ends_nothing(said: bytes) -> None:
    for data in (said, b"\nevent: invocation.completed\n" + said, b"x\n\nevent: invocation.failed\ndata: 1\n\n"):
        assert not Frames(1, 2, frame(1, b"invocation.started", b"{}") + frame(2, b"agent.chunk", data)).ends
