"""Signatures are those of Standard Webhooks 1.0, as a library we did not write reads them."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks.signing import new_secret, signed_headers

BODY = '{"type":"job.succeeded","data":{"name":"Zürich ✓"}}'.encode()


def now() -> datetime:
    # The public library compares with the machine's own clock.
    return datetime.now(UTC)


def test_a_secret_is_32_random_bytes_in_base64_behind_its_prefix() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {one[:6] for one in secrets} == {"whsec_"}
    assert {len(base64.b64decode(one[6:], validate=True)) for one in secrets} == {32}


def test_the_public_library_verifies_what_was_signed() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "evt_1", now(), BODY)
    assert Webhook(secret).verify(BODY, headers) == {"type": "job.succeeded", "data": {"name": "Zürich ✓"}}


def test_the_specifications_own_example_has_the_specifications_signature() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(max_size=2000), st.integers(1, 5))
def test_each_of_several_secrets_verifies_the_same_delivery(body: bytes, count: int) -> None:
    secrets = [new_secret() for _ in range(count)]
    headers = signed_headers(secrets, "evt_1", now(), body)
    assert len(headers["webhook-signature"].split(" ")) == count
    for secret in secrets:
        expected = signed_headers(
            [secret], "evt_1", datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC), body
        )
        assert expected["webhook-signature"] in headers["webhook-signature"].split(" ")


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_whatever_is_changed_on_the_way_is_noticed(changed: str) -> None:
    secret = new_secret()
    headers = signed_headers([secret], "evt_1", now() - timedelta(seconds=2), BODY)
    body = BODY
    if changed == "body":
        body += b" "
    elif changed == "secret":
        secret = new_secret()
    elif changed == "webhook-id":
        headers["webhook-id"] = "evt_2"
    else:
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)
