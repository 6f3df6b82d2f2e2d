import hashlib
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sigv4 import SERVICE, SigV4Signer, StaticCredentials, canonical_query

ADDED = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
HOST = "bedrock-agentcore.eu-west-2.amazonaws.com"
SIGNERS = {region: SigV4Signer(region) for region in ("eu-west-2", "eu-central-1")}

TEXT = st.text(string.ascii_letters + string.digits + " :/%+~-_.=&äß\U0001f512", max_size=30)
# A path of dots alone would be resolved away by botocore; no ARN is one.
SEGMENT = TEXT.filter(lambda text: text.strip(".") != "")
VALUE = st.text(string.ascii_letters + string.digits + " :;,=/", min_size=1, max_size=30)
HEADERS = st.dictionaries(st.sampled_from(["Content-Type", "Accept", "X-Amzn-Bedrock-Ref", "x-lower"]), VALUE)
SECRET = st.text(string.ascii_letters + string.digits + "/+", min_size=1, max_size=40)


class At:
    """botocore's signer with its timestamp given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: self.now.replace(tzinfo=None))


@dataclass(frozen=True)
class Sent:
    """A request and whose credentials sign it."""

    segment: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    credentials: StaticCredentials
    region: str

    @property
    def path(self) -> str:
        return f"/runtimes/{quote(self.segment, safe='')}/invocations"


def botocores(sent: Sent) -> dict[str, str]:
    url = f"https://{HOST}{sent.path}?{canonical_query(sent.query)}"
    request = AWSRequest("POST", url, headers=sent.headers, data=sent.body)
    credentials = BotocoreCredentials(sent.credentials.access_key, sent.credentials.secret_key, sent.credentials.token)
    SigV4Auth(credentials, SERVICE, sent.region).add_auth(request)
    return {name: request.headers[name] for name in ADDED if request.headers[name] is not None}


def ours(sent: Sent, now: datetime) -> dict[str, str]:
    return SIGNERS[sent.region].sign(
        "POST",
        sent.path,
        canonical_query(sent.query),
        sent.headers | {"Host": HOST},
        hashlib.sha256(sent.body).hexdigest(),
        credentials=sent.credentials,
        now=now,
    )


@pytest.fixture(scope="module")
def at() -> Iterator[At]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield At(monkeypatch)


@settings(deadline=None, max_examples=150)
@given(
    sent=st.builds(
        Sent,
        segment=SEGMENT,
        query=st.lists(st.tuples(TEXT, TEXT), max_size=3),
        headers=HEADERS,
        body=st.binary(max_size=50),
        credentials=st.builds(StaticCredentials, SECRET, SECRET, st.none() | SECRET),
        region=st.sampled_from(sorted(SIGNERS)),
    ),
    now=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - naive bounds
)
def test_signatures_are_botocores(at: At, sent: Sent, now: datetime) -> None:
    at.now = now
    assert ours(sent, now) == botocores(sent)


def test_a_new_secret_signs_with_a_new_key() -> None:
    signed = [
        SIGNERS["eu-west-2"].sign(
            "POST", "/", "", {}, "", credentials=StaticCredentials("id", secret), now=datetime(2026, 3, 1, tzinfo=UTC)
        )["Authorization"]
        for secret in ("one", "two")
    ]
    assert signed[0] != signed[1]


async def test_botocores_own_credentials_are_of_the_wanted_shape() -> None:
    given = ReadOnlyCredentials("id", "secret", "token")
    static = await StaticCredentials("id", "secret", "token").get_frozen_credentials()
    assert (static.access_key, static.secret_key, static.token) == (given.access_key, given.secret_key, given.token)
