"""What a kit-built agent says that its models used, beside its events and on its whole answers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agents.inband import usage_in, usage_of
from agents.invocation import AgentChunk, AgentEvent, AgentUsage
from agents.wire import EventSplitter

STREAM = b': lockgate-usage 3-4\ndata: {"n": 1}\n\ndata: {"n": 2}\n\n: lockgate-usage 7-12\n'
EVENTS = [AgentUsage(3, 4), AgentChunk(b'{"n": 1}'), AgentChunk(b'{"n": 2}'), AgentUsage(7, 12)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_usage_between_events_is_read_wherever_the_network_cuts(cuts: list[int]) -> None:
    splitter, events = EventSplitter(limit_bytes=1000), list[AgentEvent]()
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(edges):
        events += splitter.feed(STREAM[begin:end])
    events += splitter.finish()

    assert events == EVENTS


def test_a_comment_of_another_kind_says_nothing() -> None:
    for comment in (b": keep-alive", b": lockgate-usage", b": lockgate-usage 1-", b": lockgate-usage 1-2 ", b":1-2"):
        assert usage_of(comment) is None


def test_a_content_type_tells_usage_by_a_parameter_only() -> None:
    assert usage_in("application/json; lockgate-usage=3-4") == AgentUsage(3, 4)
    assert usage_in('application/json;charset=utf-8; lockgate-usage="3-4"') == AgentUsage(3, 4)
    assert usage_in("application/json") is None
    assert usage_in("application/json; lockgate-usage=-3-4") is None
