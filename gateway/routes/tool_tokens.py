"""Tool tokens: renewed by the agents that hold them, checked by tools with the published keys."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from aiohttp import web

from gateway.operations import Answer, Content, Operation, answer
from gateway.routes.answers import json_answer
from gateway.schemas import Timestamp, WireModel, shaped
from gateway.tooltokens import ToolClaims, ToolTokens

_SHOWN: Final = "eyJhbGciOiJFUzI1NiJ9.eyJ0ZW5hbnQiOiJhY21lIn0.c2lnbmF0dXJl"
_KEYS_KEPT_S: Final = 300


class ToolTokenView(WireModel):
    """A tool token, and until when it is good."""

    token: Annotated[str, shaped(r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", 4096, _SHOWN)]
    expires_at: Timestamp


RENEW: Final = Operation(
    "POST",
    "/v1/tool-tokens/renew",
    "renewToolToken",
    "Tools",
    "Renew a tool token",
    "Gives an agent that shows a good tool token another one, which says the same and is good for another five "
    "minutes. Refused once the invocation has ended.",
    (answer(200, "The new token.", ToolTokenView(token=_SHOWN, expires_at=datetime(2025, 6, 1, 12, 5, tzinfo=UTC))),),
)
KEYS: Final = Operation(
    "GET",
    "/.well-known/jwks.json",
    "getToolKeys",
    "Tools",
    "Get the keys that sign for tools",
    "The public keys (RFC 7517) that tool tokens, and what tools are shown of who calls them, are signed with.",
    (
        Answer(
            200,
            "The keys.",
            (
                Content(
                    {
                        "keys": {
                            "keys": [
                                {
                                    "kty": "EC",
                                    "crv": "P-256",
                                    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                                    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                                    "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
                                    "use": "sig",
                                    "alg": "ES256",
                                }
                            ]
                        }
                    },
                    schema={
                        "type": "object",
                        "required": ["keys"],
                        "properties": {
                            "keys": {
                                "type": "array",
                                "maxItems": 10,
                                "items": {"type": "object", "additionalProperties": True},
                            }
                        },
                        "additionalProperties": False,
                    },
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class ToolTokenRoutes:
    """`/v1/tool-tokens/renew` and `/.well-known/jwks.json`."""

    tokens: ToolTokens

    async def renew(self, _request: web.Request, claims: ToolClaims) -> web.StreamResponse:
        """Answer with a new token."""
        token, expires_at = self.tokens.renew(claims)
        return json_answer(ToolTokenView(token=token, expires_at=expires_at).to_json())

    async def keys(self, _request: web.Request) -> web.StreamResponse:
        """Answer with the public keys, which anybody may keep for some minutes."""
        headers = {"Cache-Control": f"public, max-age={_KEYS_KEPT_S}"}
        return json_answer(self.tokens.keys.published(), headers=headers)
