import re

import pytest

from gateway.trace import continued

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_trace_goes_on_with_a_span_of_our_own() -> None:
    trace = continued(VALID, "vendor=1")
    assert re.fullmatch(r"00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01", trace.traceparent or "")
    assert "b7ad6b7169203331" not in (trace.traceparent or "")
    assert trace.tracestate == "vendor=1"


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "garbage",
        VALID.upper(),
        "ff" + VALID[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        VALID + "\r\nX-Evil: 1",
    ],
)
def test_an_invalid_trace_is_replaced_by_a_new_one(traceparent: str | None) -> None:
    trace = continued(traceparent, "vendor=1")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace.traceparent or "")
    assert "0af7651916cd43dd8448eb211c80319c" not in (trace.traceparent or "")
    assert trace.tracestate is None


def test_a_tracestate_with_control_characters_is_dropped() -> None:
    assert continued(VALID, "vendor=1\x00").tracestate is None
