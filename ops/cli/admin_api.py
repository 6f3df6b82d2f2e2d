"""The Admin API as the operator's commands call it: where, as whom, and what each refusal means for a script.

The token is sent and never shown.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Never

import aiohttp
import orjson
import typer
from pydantic import BaseModel, JsonValue, SecretStr, TypeAdapter, ValidationError

from ops.cli.environment import settings_of
from ops.cli.errors import ExitCode, complain, explained
from ops.devstack.control import StackNotRunningError
from ops.devstack.dev_files import read_dev_file
from ops.devstack.layout import CHECKOUT, Layout
from ops.settings import OperatorSettings

LOCAL: Final = "local"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
_LONG: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
_PAGE: Final = 100
_EXITS: Final = {
    HTTPStatus.UNAUTHORIZED: ExitCode.AUTH,
    HTTPStatus.FORBIDDEN: ExitCode.AUTH,
    HTTPStatus.NOT_FOUND: ExitCode.NOT_FOUND,
    HTTPStatus.CONFLICT: ExitCode.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY: ExitCode.USAGE,
}
_JSON: Final = TypeAdapter[JsonValue](JsonValue)


class _Fault(BaseModel):
    pointer: str
    detail: str


class _Problem(BaseModel):
    code: str
    detail: str
    request_id: str
    errors: tuple[_Fault, ...] = ()
    role: str | None = None


@dataclass(frozen=True, slots=True)
class AdminApi:
    """One gateway, as one operator."""

    gateway: str
    token: SecretStr

    def call(
        self, method: str, path: str, *, body: JsonValue = None, query: Mapping[str, str] | None = None
    ) -> JsonValue:
        """Return the answer's JSON, None where it has none; ends the command with a sentence and a code otherwise."""
        try:
            return asyncio.run(self._call(method, "/v1/admin" + path, body, query))
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            _end(ExitCode.FAILED, f"{self.gateway} does not answer ({type(error).__name__}); is the gateway up?")

    def items(self, path: str, query: Mapping[str, str] | None = None, *, most: int | None = None) -> list[JsonValue]:
        """Return what a list holds, page by page, up to `most`."""
        found: list[JsonValue] = []
        wanted = dict(query or {}) | {"limit": str(min(most or _PAGE, _PAGE))}
        while True:
            match self.call("GET", path, query=wanted):
                case {"items": [*items], **rest}:
                    found += items
                    cursor = rest.get("nextCursor")
                case _:
                    return found
            if not isinstance(cursor, str) or (most is not None and len(found) >= most):
                return found[:most]
            wanted["cursor"] = cursor

    def download(self, path: str, sink: Callable[[bytes], object], query: Mapping[str, str] | None = None) -> None:
        """Hand an answer's bytes to `sink` as they come; ends the command as `call` does."""
        try:
            asyncio.run(self._download("/v1/admin" + path, sink, query))
        except (aiohttp.ClientError, TimeoutError) as error:
            _end(ExitCode.FAILED, f"{self.gateway} does not answer to the end ({type(error).__name__})")

    async def _download(self, path: str, sink: Callable[[bytes], object], query: Mapping[str, str] | None) -> None:
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=_LONG) as session,
            session.get(self.gateway + path, params=query, allow_redirects=False) as answer,
        ):
            if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                _refused(answer.status, await answer.read())
            async for piece in answer.content.iter_any():
                sink(piece)

    async def _call(self, method: str, path: str, body: JsonValue, query: Mapping[str, str] | None) -> JsonValue:
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        data = None if body is None else orjson.dumps(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        if method == "POST":
            # Should the answer be lost on the way, what was asked is not done twice.
            headers["Idempotency-Key"] = secrets.token_hex(16)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session,
            # A token does not follow a redirect.
            session.request(method, self.gateway + path, data=data, params=query, allow_redirects=False) as answer,
        ):
            content = await answer.read()
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            _refused(answer.status, content)
        return _JSON.validate_json(content) if content else None


def connected() -> AdminApi:
    """Return the API that the environment names: the running dev stack's, unless ENV says otherwise."""
    settings = settings_of(OperatorSettings)
    if settings.environment != LOCAL:
        if settings.gateway is None or settings.token is None:
            _end(ExitCode.USAGE, f"ENV={settings.environment} needs LOCKGATE_GATEWAY and LOCKGATE_TOKEN")
        return AdminApi(settings.gateway.rstrip("/"), settings.token)
    layout = Layout((settings.state or CHECKOUT / ".lockgate").absolute())
    with explained():
        stack = read_dev_file(layout)
        if stack is None:
            raise StackNotRunningError(layout.state)
    return AdminApi(settings.gateway or stack.gateway, settings.token or SecretStr(stack.operator.token))


def _refused(status: int, content: bytes) -> Never:
    try:
        members = orjson.loads(content)
        problem = _Problem.model_validate(members | {"request_id": members.get("requestId", "-")})
    except (orjson.JSONDecodeError, ValidationError, TypeError, AttributeError):
        _end(ExitCode.FAILED, f"the gateway answered {status} with what is no problem document; is it a gateway?")
    needs = "" if problem.role is None else f" The role is {problem.role}."
    for fault in problem.errors:
        complain(f"{fault.pointer or '/'}: {fault.detail}")
    code = _EXITS.get(HTTPStatus(status), ExitCode.FAILED)
    _end(code, f"{problem.detail}{needs} ({status} {problem.code}, request {problem.request_id})")


def _end(code: ExitCode, message: str) -> Never:
    complain(message)
    raise typer.Exit(code)
