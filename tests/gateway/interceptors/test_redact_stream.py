"""A streamed answer is redacted as its whole text would be, however it is cut, and nothing leaks meanwhile."""

import sys
from collections.abc import Callable, Iterable
from types import FrameType

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.interceptors.folding import UNSEEN_MAX
from gateway.interceptors.kinds import ADDRESS_RUN
from gateway.interceptors.redact import Blocked, Redactor
from gateway.interceptors.rules import Policy, TenantPattern
from gateway.interceptors.stream_text import names

REDACTORS = {
    action: Redactor(Policy(action, (TenantPattern("employee", r"\bEMP-\d{3,6}\b"),))) for action in ("redact", "block")
}
PLAIN = Redactor(Policy("redact"))
Shape = Callable[[int, str], bytes]
SHAPES: dict[str, Shape] = {
    "text": lambda index, text: orjson.dumps({"index": index, "text": text}),
    "typed": lambda _, text: orjson.dumps({"type": "delta", "delta": {"content": [{"text": text}]}}),
    "bare": lambda _, text: orjson.dumps(text),
    "escaped": lambda _, text: ('{"text":"' + "".join(f"\\u{unit:04x}" for unit in units(text)) + '"}').encode(),
}
PARTS = st.sampled_from(
    [
        "4111 1111 1111 1111", "4111111111111112", "378282246310005", "jane.doe@example.com", "a@b.co", "943 476 5919",
        "AB 12 34 56 C", "GB82 WEST 1234 5698 7654 32", "20-00-00 55779911", "+44 20 7946 0958", "07700 900123",
        "10.0.0.1", "2001:db8::1", "EMP-1234", "EMP-1234567", "\uff14" + "\uff11" * 15, "\u200b", "\U0001f600",
        " ", ", ", "x", "é", "1", "1111", "@", "+", "-", ".", ":", '"', "\\", "\n", "and account ", "hello ", "hello",
        "\ufe0f", "\u200b" * 17, "\t", "/", "0", "00 ", "12.00 4111 1111 1111 1111",
    ]
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=12).map("".join)


def chat(_: int, text: str) -> bytes:
    return orjson.dumps({"type": "delta", "id": "msg_01", "model": "m-4", "delta": {"type": "text", "text": text}})


def timed(index: int, text: str) -> bytes:
    return orjson.dumps({"id": f"evt_{index}", "createdAt": f"2026-11-23T09:00:{index:02}Z", "text": text})


def units(text: str) -> list[int]:
    raw = text.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]


def text_of(value: object) -> str:
    """Return an event's text, whatever its shape."""
    match value:
        case str():
            return value
        case {"text": str(text)} | {"delta": {"content": [{"text": str(text)}]}}:
            return text
    raise AssertionError(value)


def joined(events: Iterable[bytes]) -> str:
    return "".join(text_of(orjson.loads(event)) for event in events)


def whole(redactor: Redactor, text: str) -> str:
    answer = redactor.whole(orjson.dumps(text))
    assert isinstance(answer, bytes)
    return str(orjson.loads(answer))


def cut(text: str, places: Iterable[int]) -> list[str]:
    at = sorted({place % (len(text) + 1) for place in places})
    return [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]


def streamed(redactor: Redactor, chunks: Iterable[str], shape: Shape) -> list[bytes]:
    stream = redactor.stream()
    out = [event for index, chunk in enumerate(chunks) for event in stream.feed(shape(index, chunk))]
    return out + stream.finish()


@pytest.mark.parametrize("shape", SHAPES)
@given(text=TEXTS, places=st.lists(st.integers(0, 300), max_size=40))
@settings(max_examples=150, deadline=None)
def test_every_cut_gives_what_the_whole_text_gives(shape: str, text: str, places: list[int]) -> None:
    for redactor in (PLAIN, REDACTORS["redact"]):
        assert joined(streamed(redactor, cut(text, places), SHAPES[shape])) == whole(redactor, text)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", range(1, 24))
def test_every_chunk_size_gives_what_the_whole_text_gives(shape: str, size: int) -> None:
    text = (
        "Hello, card 4111 1111 1111 1111 of jane.doe@example.com, call +44 20 7946 0958, NI AB 12 34 56 C; "
        "GB82 WEST 1234 5698 7654 32. 20-00-00 account number 55779911 at 2001:db8::1 or 10.0.0.1: bye"
    )
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    out = streamed(PLAIN, chunks, SHAPES[shape])
    assert joined(out) == whole(PLAIN, text)
    assert len(out) == len(chunks)


@given(text=TEXTS, places=st.lists(st.integers(0, 300), max_size=30), more=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_what_went_out_before_an_abort_is_a_beginning_of_what_the_whole_text_gives(
    text: str, places: list[int], more: int
) -> None:
    stream = PLAIN.stream()
    chunks = cut(text, places)[:more]
    out = [event for index, chunk in enumerate(chunks) for event in stream.feed(SHAPES["text"](index, chunk))]
    assert whole(PLAIN, text).startswith(joined(out))


@given(text=TEXTS, places=st.lists(st.integers(0, 300), max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_more_waits_than_the_longest_match(text: str, places: list[int]) -> None:
    stream = PLAIN.stream()
    # Twice: a phone number waits for what may begin within it.
    bound = 2 * PLAIN.rules.width * (1 + UNSEEN_MAX if any(map("\u200b\ufe0f".__contains__, text)) else 1)
    for index, chunk in enumerate(cut(text * 5, places)):
        stream.feed(SHAPES["text"](index, chunk))
        assert stream.held_characters <= bound
    stream.finish()
    assert stream.held_characters == 0


def test_what_does_not_show_waits_within_bounds_too() -> None:
    stream, unseen = PLAIN.stream(), "\u200b" * UNSEEN_MAX
    for index in range(600):
        stream.feed(SHAPES["text"](index, f"a{unseen}"))
        assert stream.held_characters <= PLAIN.rules.width * (1 + UNSEEN_MAX)
    for index in range(600):
        stream.feed(SHAPES["text"](index, unseen))
        assert stream.held_characters <= PLAIN.rules.width * (1 + UNSEEN_MAX)


@given(text=TEXTS, places=st.lists(st.integers(0, 300), max_size=30))
@settings(max_examples=150, deadline=None)
def test_a_block_shows_nothing_of_the_match(text: str, places: list[int]) -> None:
    redactor, stream, out = REDACTORS["block"], REDACTORS["block"].stream(), list[bytes]()
    verdict, blocked = redactor.whole(orjson.dumps(text)), None
    try:
        for index, chunk in enumerate(cut(text, places)):
            out += stream.feed(SHAPES["text"](index, chunk))
        out += stream.finish()
    except RedactionBlockedError as error:
        blocked = error.kind
    assert blocked == (verdict.kind if isinstance(verdict, Blocked) else None)
    redacted = whole(REDACTORS["redact"], text)
    first = redacted.find("[REDACTED:")
    assert redacted[:first].startswith(joined(out)) if first >= 0 else joined(out) == text


def test_a_blocked_stream_stays_blocked() -> None:
    stream = REDACTORS["block"].stream()
    with pytest.raises(RedactionBlockedError):
        stream.feed(b'"call 10.0.0.1 now"')
    with pytest.raises(RedactionBlockedError):
        stream.feed(b'"clean "')
    with pytest.raises(RedactionBlockedError):
        stream.finish()


def test_an_event_without_a_match_goes_out_as_the_same_bytes() -> None:
    events = [b' {"text" : "h\\u00e9llo, "}', b'{"text":"\\n"} ', b"[1, 2.50, null]", b'{"text":". "}']
    stream = PLAIN.stream()
    assert [out for event in events for out in stream.feed(event)] == events
    assert stream.finish() == []


def test_a_word_waits_for_the_next_event_and_no_longer() -> None:
    stream = PLAIN.stream()
    first, second, third = (orjson.dumps({"text": text}) for text in ("Hello", " wor", "ld. "))
    assert stream.feed(first) == []
    assert stream.feed(second) == [first]
    assert stream.feed(third) == [second, third]


def test_a_match_is_shown_in_the_event_it_begins_in() -> None:
    stream = PLAIN.stream()
    out = [event for text in ("at 41", "11 1111 1111 ", "1111, so ") for event in stream.feed(SHAPES["text"](0, text))]
    assert [text_of(orjson.loads(event)) for event in out] == ["at [REDACTED:payment_card]", "", ", so "]


def test_texts_at_two_paths_are_two_texts() -> None:
    stream = PLAIN.stream()
    events = [b'{"a":"4111 1111 ","b":"1 "}', b'{"b":"x, "}', b'{"a":"1111 1111! "}']
    out = [event for raw in events for event in stream.feed(raw)]
    assert out == [b'{"a":"[REDACTED:payment_card]","b":"1 "}', b'{"b":"x, "}', b'{"a":"! "}']


def test_a_stream_of_words_flows_with_one_event_of_delay_at_most() -> None:
    sentence = "The quick brown fox , isn't it ? goes on to 12 more towns - and so do we, at 10:30 sharp ."
    for shape in (SHAPES["text"], chat, timed):
        stream, late = PLAIN.stream(), 0
        for index, word in enumerate(sentence.split()):
            late += 1 - len(stream.feed(shape(index, f" {word}")))
            assert 0 <= late <= 1
        assert len(stream.finish()) == late


def test_a_value_under_a_key_that_names_is_joined_to_nothing_and_waited_for_by_nobody() -> None:
    stream = PLAIN.stream()
    events = [orjson.dumps({"type": "delta", "runId": "run7", "text": f"{word} "}) for word in ("one", "two", "three")]
    assert [stream.feed(event) for event in events] == [[event] for event in events]


def test_a_value_under_a_key_that_names_may_itself_be_personal_data() -> None:
    stream = PLAIN.stream()
    out = [e for t in ("a ", "b ") for e in stream.feed(orjson.dumps({"userId": "jane@example.com", "text": t}))]
    assert [orjson.loads(event)["userId"] for event in out] == ["[REDACTED:email]"] * 2


@pytest.mark.parametrize("key", ["type", "id", "messageId", "message_id", "runID", "x-event", "stop_reason"])
def test_keys_that_name(key: str) -> None:
    assert names(key)


@pytest.mark.parametrize("key", ["text", "content", "typed", "paid", "reason", "data", "", "identity", "format", "1"])
def test_keys_of_texts(key: str) -> None:
    assert not names(key)


@given(text=TEXTS, places=st.lists(st.integers(0, 300), max_size=60), other=st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_text_beside_another_one_is_redacted_whatever_its_pieces(
    text: str, places: list[int], other: list[str]
) -> None:
    stream, out = PLAIN.stream(), list[bytes]()
    for index, chunk in enumerate(cut(text, places)):
        out += stream.feed(orjson.dumps({"other": other[index % len(other)], "n": f"{index} ", "text": chunk}))
    out += stream.finish()
    assert "".join(orjson.loads(event)["text"] for event in out) == whole(PLAIN, text)


@pytest.mark.parametrize(
    "text", ["4111111111111111", "aaaa@example.com", "0000 0000 0000", "+111111111111 ", "1.1.1.1 "]
)
def test_equal_pieces_beside_another_text_are_joined(text: str) -> None:
    stream = PLAIN.stream()
    out = [e for n, one in enumerate(text) for e in stream.feed(orjson.dumps({"tick": f"{n}, ", "text": one}))]
    assert "".join(orjson.loads(event)["text"] for event in out + stream.finish()) == whole(PLAIN, text)


def test_a_value_that_never_changes_is_a_label_once_no_address_begins_like_that() -> None:
    stream = PLAIN.stream()
    events = [orjson.dumps({"speaker": "planner", "text": f"{word}, "}) for word in words(40)]
    out = [stream.feed(event) for event in events]
    # Ten of them are more than 64 characters.
    assert out[:9] == [[]] * 9
    assert out[9] == events[:10]
    assert out[10:] == [[event] for event in events[10:]]


def test_what_follows_a_label_is_looked_at_together_with_it() -> None:
    stream = PLAIN.stream()
    events = [orjson.dumps({"speaker": "ab", "text": f"{word}, "}) for word in words(40)]
    out = [e for event in events for e in stream.feed(event)]
    out += stream.feed(orjson.dumps({"speaker": "@example.com, so", "text": "x"}))
    out += stream.finish()
    assert out[:-1] == events
    assert orjson.loads(out[-1]) == {"speaker": "[REDACTED:email], so", "text": "x"}


def test_a_value_whose_repetition_is_personal_data_is_no_label() -> None:
    stream = PLAIN.stream()
    events = [orjson.dumps({"speaker": "x10.0.0.1 ", "text": f"{word}, "}) for word in words(20)]
    out = [e for event in events for e in stream.feed(event)] + stream.finish()
    assert {orjson.loads(event)["speaker"] for event in out} == {"x[REDACTED:ip_address] "}


def words(number: int) -> list[str]:
    return [f"word{'abcdefghij'[index % 10]}" for index in range(number)]


def test_a_long_event_goes_on_without_its_last_word() -> None:
    stream = PLAIN.stream()
    out = stream.feed(orjson.dumps({"index": 0, "text": "so " * 200 + "jane"}))
    assert joined(out) == "so " * 200
    assert stream.held_characters == 4
    assert joined(stream.feed(b'{"index":1,"text":".doe@example.com, "}')) == "[REDACTED:email], "


def test_what_was_cut_off_and_never_joined_comes_as_an_event_of_the_last_ones_shape() -> None:
    stream = PLAIN.stream()
    stream.feed(orjson.dumps({"index": 0, "text": "so " * 200 + "jane@example.com"}))
    assert stream.finish() == [b'{"index":0,"text":"[REDACTED:email]"}']


def test_events_without_text_do_not_wait_for_ever() -> None:
    stream = PLAIN.stream()
    events = [b'{"text":"jane"}', *(b'{"progress":%d}' % percent for percent in range(40))]
    out = [event for raw in events for event in stream.feed(raw)]
    assert out == [b'{"text":""}', *events[1:]]
    assert stream.feed(b'{"text":" now, "}') == [b'{"text":"jane now, "}']


def test_numbers_and_keys_of_an_event_are_looked_at() -> None:
    stream = PLAIN.stream()
    assert stream.feed(b'{"n":4111111111111111,"t":1763885791}') == [b'{"n":"[REDACTED:payment_card]","t":1763885791}']
    assert stream.feed(b'{"10.0.0.1":1}') == [b'{"[REDACTED:ip_address]":1}']
    assert stream.feed(b'{"a":"10.0.0.1 ","a":"x, "}') == [b'{"a":"[REDACTED:ip_address] ","a":"x, "}']


def test_half_a_character_cut_over_two_events_stays_half() -> None:
    stream = PLAIN.stream()
    events = [b'{"t":"10.0.0.1 jane\\ud83d"}', b'{"t":"\\ude00, 10.0.0.2, "}']
    out = [event for raw in events for event in stream.feed(raw)]
    assert out == [b'{"t":"[REDACTED:ip_address] jane\\ud83d"}', b'{"t":"\\ude00, [REDACTED:ip_address], "}']


@pytest.mark.parametrize("broken", [b"", b"{", b'{"a":', b'"\x01"', b"[" * 3000])
def test_what_is_no_json_ends_the_stream(broken: bytes) -> None:
    stream = PLAIN.stream()
    stream.feed(b'"jane"')
    with pytest.raises(InterceptorFailedError):
        stream.feed(broken)
    with pytest.raises(InterceptorFailedError):
        stream.finish()


def calls(event: bytes) -> int:
    """Return how many functions are called to redact a stream of an event and a short one."""
    stream, counted = PLAIN.stream(), 0

    def count(_: FrameType, what: str, __: object) -> None:
        nonlocal counted
        counted += what in ("call", "c_call")

    sys.setprofile(count)
    try:
        stream.feed(event)
        stream.feed(b'{"text":"x"}')
        stream.finish()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize(
    "shape",
    [
        lambda size: "ada@acme.example " * size,
        lambda size: ["ada@acme.example"] * size,
        lambda size: {f"k{number}": "ada@acme.example" for number in range(size)},
        lambda size: {f"k{number}": "ada" for number in range(size)},
        lambda size: {f"ada{number}@acme.example": "ada" for number in range(size)},
        lambda size: [{"id": "ada@acme.example", "text": f"1{number}"} for number in range(size)],
    ],
    ids=["text", "list", "members", "words", "keys", "objects"],
)
def test_the_work_for_one_event_grows_as_its_length_does(shape: Callable[[int], object]) -> None:
    short, long = (calls(orjson.dumps({"text": shape(size)})) for size in (200, 800))
    assert long < 6 * short


@given(text=st.text(alphabet="abAB.-+' ,xGé/_\t\n", max_size=90))
@settings(max_examples=300, deadline=None)
@example("x" * 70)
@example("AB ")
@example("AB \n-")
@example("AB    ")
def test_the_quick_look_at_an_end_sees_what_the_patterns_see(text: str) -> None:
    folded = text.encode("ascii", "replace").replace(b"?", b"\x01")
    quick, thorough = PLAIN.rules.scanner.live(folded, 0), PLAIN.rules.scanner.live_by_pattern(folded, 0)
    # The patterns know of no neighbour: to them an NI number may begin within a word.
    while folded[max(thorough - 1, 0) : thorough].isalpha() and folded[thorough:].strip(ADDRESS_RUN):
        thorough = PLAIN.rules.scanner.live_by_pattern(folded, thorough + 1)
    assert quick == thorough
