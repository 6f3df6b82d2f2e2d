"""SigV4 as AWS checks it: the signature is computed again from what arrived, and compared.

The canonical path is encoded twice, as for every service but S3: an ARN that travels as `arn%3Aaws…` is signed as
`arn%253Aaws…`, and a client that decodes it on the way fails here as it fails on AWS.
"""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ops.devstack.runtime.errors import InvalidSignatureError

SERVICE: Final = "bedrock-agentcore"
_SCHEME: Final = "AWS4-HMAC-SHA256"
_PARTS: Final = re.compile(
    rf"{_SCHEME} +Credential=([^/]+)/([0-9]{{8}})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, *"
    r"SignedHeaders=([A-Za-z0-9;_-]+), *Signature=([0-9a-f]{64})"
)
_SKEW: Final = timedelta(minutes=15)
_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Signed:
    """An Authorization header's parts."""

    access_key: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @classmethod
    def parse(cls, header: str) -> Self | None:
        """Return the parts, None for another scheme; raises InvalidSignatureError for a malformed header."""
        if not header.startswith(_SCHEME):
            return None
        found = _PARTS.fullmatch(header)
        if found is None:
            raise InvalidSignatureError("Authorization header is not a valid SigV4 signature")
        return cls(found[1], found[3], found[4], tuple(found[5].split(";")), found[6])


def verify(request: web.BaseRequest, body: bytes, signed: Signed, secret_key: str, now: datetime) -> None:
    """Return if the request was signed with this secret, lately; raises InvalidSignatureError."""
    stamp = request.headers.get("X-Amz-Date", "")
    if not _is_recent(stamp, now) or signed.service != SERVICE:
        raise InvalidSignatureError("Signature expired or made for another service")
    url = f"{request.scheme}://{request.host}{request.raw_path}"
    headers = {name: request.headers.get(name, "") for name in signed.signed_headers}
    copy = AWSRequest(method=request.method, url=url, headers=headers, data=body)
    copy.context["timestamp"] = stamp
    auth = SigV4Auth(Credentials(signed.access_key, secret_key), signed.service, signed.region)
    expected = auth.signature(auth.string_to_sign(copy, auth.canonical_request(copy)), copy)
    if not hmac.compare_digest(expected, signed.signature):
        raise InvalidSignatureError(_MISMATCH)


def _is_recent(stamp: str, now: datetime) -> bool:
    try:
        made_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - made_at) <= _SKEW
