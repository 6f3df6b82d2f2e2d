"""What of a caller reaches the agent: its input and its trace. Its credentials end at the gateway."""

import orjson
import pytest

from agents.inband import ACTION_HEADER, REF_HEADER, TOKEN_HEADER
from agents.runtime import SESSION_HEADER
from tests.agents.upstream import http, upstream
from tests.conftest import Aws
from tests.gateway.whole import whole_gateway

pytestmark = pytest.mark.stack

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
FORGED = {
    ACTION_HEADER: "forged-stop",
    REF_HEADER: "forged-inv_00000000000000000000000000",
    TOKEN_HEADER: "forged-token",
    SESSION_HEADER: "forged-session-of-somebody-else-0000000000",
    "X-Amzn-Bedrock-AgentCore-Runtime-User-Id": "forged-user",
    "WorkloadAccessToken": "forged-workload",
    "Cookie": "session=forged",
    "baggage": "tenant=forged",
    "X-Forwarded-For": "forged",
}


async def test_nothing_of_the_caller_but_its_input_and_trace_reaches_the_agent(
    aws: Aws, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        upstream(http(200, {"ok": True})) as runtime,
        whole_gateway(aws, redis_url, monkeypatch, runtime.url) as gateway,
    ):
        sent = FORGED | {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
        body = {"input": {"prompt": "x"}, "metadata": {"ticket": "forged"}}
        async with gateway.session.post(gateway.url + gateway.path, json=body, headers=sent) as answer:
            assert answer.status == 200
            invocation, session = answer.headers["X-Invocation-Id"], answer.headers["X-Session-Id"]
            credential = answer.request_info.headers["Authorization"].removeprefix("Bearer ")
        [received] = runtime.received
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert set(headers) == {
        *("host", "accept", "accept-encoding", "authorization", "content-length", "content-type", "user-agent"),
        *("x-amz-date", "traceparent", SESSION_HEADER.lower(), REF_HEADER.lower()),
    }
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
    assert (headers[REF_HEADER.lower()], headers[SESSION_HEADER.lower()]) == (invocation, session)
    assert headers["traceparent"].split("-")[1] == TRACE_ID
    assert orjson.loads(received.body) == {"prompt": "x"}
    everything = received.target + str(headers) + received.body.decode()
    assert len(credential) > 100
    assert credential not in everything
    assert "forged" not in everything
