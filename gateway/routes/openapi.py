"""The API's own description: the document for programs, the page for people. Both are made once and never change."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import hdrs, web

from gateway.openapi.document import document, written
from gateway.openapi.page import POLICY, page
from gateway.operations import Answer, Content, Operation, Parameter

_IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    "header",
    "The `ETag` of the copy the caller has.",
    {"type": "string", "format": "text", "maxLength": 16_384},
    '"9f86d081884c7d659a2feaa0c55ad015"',
)
DOCUMENT: Final = Operation(
    "GET",
    "/v1/openapi.json",
    "getDescription",
    "Description",
    "Read this description",
    "The OpenAPI 3.1 document of this API.",
    (
        Answer(
            200,
            "The document.",
            (
                Content(
                    {"head": {"openapi": "3.1.0", "info": {"title": "Lockgate", "version": "1.0.0"}, "paths": {}}},
                    {"type": "object", "required": ["openapi", "info", "paths"], "description": "OpenAPI 3.1."},
                ),
            ),
            headers=("ETag",),
        ),
        Answer(304, "The caller's copy is current.", headers=("ETag",)),
    ),
    parameters=(_IF_NONE_MATCH,),
)
PAGE: Final = Operation(
    "GET",
    "/docs",
    "getDocs",
    "Description",
    "Read this description as a page",
    "The same for people: one page that loads nothing else.",
    (
        Answer(
            200,
            "The page.",
            (
                Content(
                    {"page": "<!doctype html><title>Lockgate</title>"},
                    {"type": "string", "format": "html", "maxLength": 4_194_304},
                    "text/html",
                ),
            ),
            headers=("ETag",),
        ),
        Answer(304, "The caller's copy is current.", headers=("ETag",)),
    ),
    parameters=(_IF_NONE_MATCH,),
)


@dataclass(frozen=True, slots=True)
class Paper:
    """Bytes that stay the same for as long as the process lives."""

    body: bytes
    content_type: str
    etag: str
    policy: str

    @classmethod
    def of(cls, body: bytes, content_type: str, policy: str) -> Self:
        """Name the bytes by their hash."""
        return cls(body, content_type, hashlib.sha256(body).hexdigest()[:32], policy)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the bytes, unless the caller has them."""
        known = request.if_none_match or ()
        fresh = any(tag.value in {self.etag, "*"} for tag in known)
        response = web.Response(status=304) if fresh else web.Response(body=self.body, content_type=self.content_type)
        response.etag = self.etag
        response.headers[hdrs.CACHE_CONTROL] = "public, max-age=300"
        response.headers["Content-Security-Policy"] = self.policy
        return response


@dataclass(frozen=True, slots=True)
class Papers:
    """The API's description for programs, and for people."""

    document: Paper
    page: Paper

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> Self:
        """Describe these operations; it takes the better part of a second."""
        described = document(operations)
        return cls(
            Paper.of(written(described), "application/json", "default-src 'none'"),
            Paper.of(page(described), "text/html", POLICY),
        )
