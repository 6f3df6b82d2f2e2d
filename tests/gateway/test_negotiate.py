import pytest

from gateway.errors import NotAcceptableError
from gateway.negotiate import mode_of, prefers
from tenancy.data_models import Mode

ALL = frozenset(Mode)


@pytest.mark.parametrize(
    ("accept", "mode"),
    [
        ([], Mode.SYNC),
        (["*/*"], Mode.SYNC),
        (["application/json"], Mode.SYNC),
        (["application/*"], Mode.SYNC),
        (["text/event-stream"], Mode.STREAM),
        (["TEXT/Event-Stream"], Mode.STREAM),
        (["text/*"], Mode.STREAM),
        (["application/json, text/event-stream"], Mode.STREAM),
        (["application/json", "text/event-stream"], Mode.STREAM),
        (["application/json;q=0.9, text/event-stream;q=0.8"], Mode.SYNC),
        (["application/json;q=0.8, text/event-stream;q=0.9"], Mode.STREAM),
        (["text/event-stream, */*"], Mode.STREAM),
        (["text/event-stream;q=0, */*"], Mode.SYNC),
        (["text/html, */*;q=0.1"], Mode.SYNC),
        (["text/event-stream;q=0.5;charset=utf-8, application/json;q=0.4"], Mode.STREAM),
        (["*/*;q=1, application/json;q=0.2, text/event-stream;q=0.3"], Mode.STREAM),
    ],
)
def test_accept_chooses_the_mode(accept: list[str], mode: Mode) -> None:
    assert mode_of(accept, [], ALL) is mode


@pytest.mark.parametrize(
    "accept", [["text/html"], ["application/json;q=0"], ["text/event-stream;q=nan"], ["text/event-stream;q=²"]]
)
def test_a_caller_that_accepts_nothing_on_offer_is_told_the_modes(accept: list[str]) -> None:
    with pytest.raises(NotAcceptableError) as refused:
        mode_of(accept, [], ALL)
    assert set(refused.value.modes) == ALL


@pytest.mark.parametrize(
    "prefer", ["respond-async", "wait=10, Respond-Async", "respond-async; foo=bar", "a,respond-async"]
)
def test_respond_async_wins_over_accept(prefer: str) -> None:
    assert mode_of(["text/event-stream"], [prefer], ALL) is Mode.ASYNC


def test_another_preference_is_no_respond_async() -> None:
    assert not prefers(["respond-asynchronously, wait=respond-async"], "respond-async")


@pytest.mark.parametrize(
    ("accept", "prefer", "declared"),
    [
        ([], [], {Mode.STREAM, Mode.ASYNC}),
        (["text/event-stream"], [], {Mode.SYNC}),
        ([], ["respond-async"], {Mode.SYNC, Mode.STREAM}),
    ],
)
def test_a_mode_the_agent_does_not_declare_is_refused(
    accept: list[str], prefer: list[str], declared: set[Mode]
) -> None:
    with pytest.raises(NotAcceptableError) as refused:
        mode_of(accept, prefer, frozenset(declared))
    assert set(refused.value.modes) == declared
