"""The Admin API as the operator's commands call it: where, as whom, and what each refusal means for a script.

The token is sent and never shown.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final, Never, TypeAlias
from urllib.parse import urlencode, urlsplit

import orjson
import typer
from pydantic import BaseModel, JsonValue, SecretStr, TypeAdapter, ValidationError

from ops.cli.credentials import credentials_of
from ops.cli.environment import settings_of
from ops.cli.errors import ExitCode, complain, explained
from ops.cli.patience import patience
from ops.devstack.dev_files import read_dev_file
from ops.devstack.layout import CHECKOUT, Layout, StackNotRunningError
from ops.settings import OperatorSettings

LOCAL: Final = "local"
_CONNECT_S: Final = 5.0
_PIECE_BYTES: Final = 65_536
_PAGE: Final = 100
_OWN_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_EXITS: Final = {
    HTTPStatus.UNAUTHORIZED: ExitCode.AUTH,
    HTTPStatus.FORBIDDEN: ExitCode.AUTH,
    HTTPStatus.NOT_FOUND: ExitCode.NOT_FOUND,
    HTTPStatus.CONFLICT: ExitCode.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY: ExitCode.USAGE,
}
# What a request's query says; what is None it does not say.
Query: TypeAlias = Mapping[str, str | None]
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
    # What to do where the token is refused.
    advice: str = ""

    def call(self, method: str, path: str, *, body: JsonValue = None, query: Query | None = None) -> JsonValue:
        """Return the answer's JSON, None where it has none; ends the command with a sentence and a code otherwise."""
        with self._asked(method, path, body, query) as answer:
            content = self._read(answer)
        return _JSON.validate_json(content) if content else None

    def items(self, path: str, query: Query | None = None, *, most: int | None = None) -> list[JsonValue]:
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

    def download(self, path: str, sink: Callable[[bytes], object], query: Query | None = None) -> None:
        """Hand an answer's bytes to `sink` as they come; ends the command as `call` does."""
        with self._asked("GET", path, None, query) as answer:
            while piece := self._read(answer, _PIECE_BYTES):
                sink(piece)

    @contextmanager
    def _asked(self, method: str, path: str, body: JsonValue, query: Query | None) -> Iterator[HTTPResponse]:
        """Hold a good answer open for the block; ends the command where there is none."""
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if method == "POST":
            # Should the answer be lost on the way, what was asked is not done twice.
            headers["Idempotency-Key"] = secrets.token_hex(16)
        said = {name: value for name, value in (query or {}).items() if value is not None}
        target = "/v1/admin" + path + (f"?{urlencode(said)}" if said else "")
        with ExitStack() as held:
            with self._reaching():
                connection, prefix = held.enter_context(_connected(self.gateway))
                # A token does not follow a redirect: this client follows none.
                connection.request(method, prefix + target, None if body is None else orjson.dumps(body), headers)
                answer = held.enter_context(connection.getresponse())
                if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                    _refused(answer.status, answer.read(), self.advice)
            yield answer

    def _read(self, answer: HTTPResponse, most_bytes: int | None = None) -> bytes:
        with self._reaching():
            return answer.read(most_bytes)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """End the command where the gateway is not reached, or falls silent."""
        try:
            yield
        except TimeoutError:
            _end(ExitCode.TIMED_OUT, f"{self.gateway} has not answered within {patience.get():g} s")
        except (OSError, HTTPException) as error:
            _end(ExitCode.FAILED, f"{self.gateway} does not answer ({type(error).__name__}); is the gateway up?")


def connected() -> AdminApi:
    """Return the API that the environment names: the running dev stack's, unless ENV says otherwise."""
    settings = settings_of(OperatorSettings)
    gateway, local = place_of(settings)
    known = credentials_of(settings, gateway, local=local)
    return AdminApi(gateway, known.token, known.advice)


def place_of(settings: OperatorSettings) -> tuple[str, SecretStr | None]:
    """Return the gateway's base URL, and the operator's token where it is the dev stack's."""
    if settings.environment != LOCAL:
        if settings.gateway is None:
            _end(ExitCode.USAGE, f"ENV={settings.environment} needs LOCKGATE_GATEWAY")
        return settings.gateway.rstrip("/"), None
    layout = Layout((settings.state or CHECKOUT / ".lockgate").absolute())
    with explained():
        stack = read_dev_file(layout)
        if stack is None:
            raise StackNotRunningError(layout.state)
    return (settings.gateway or stack.gateway).rstrip("/"), SecretStr(stack.operator.token)


@contextmanager
def _connected(gateway: str) -> Iterator[tuple[HTTPConnection, str]]:
    """Connect to a base URL for the block; gives what its paths begin with, too."""
    try:
        parts = urlsplit(gateway)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or parts.scheme not in {"http", "https"}:
        _end(ExitCode.USAGE, f"{gateway} is no URL of a gateway; it begins with https://")
    if parts.scheme == "http" and host not in _OWN_MACHINE:
        _end(ExitCode.USAGE, f"{gateway} would be sent a token that anybody on the way can read; say https://")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(host, port, timeout=min(_CONNECT_S, patience.get()))
    try:
        connection.connect()
        connection.sock.settimeout(patience.get())
        yield connection, parts.path
    finally:
        connection.close()


def _refused(status: int, content: bytes, advice: str) -> Never:
    try:
        members = orjson.loads(content)
        problem = _Problem.model_validate(members | {"request_id": members.get("requestId", "-")})
    except (orjson.JSONDecodeError, ValidationError, TypeError, AttributeError):
        _end(ExitCode.FAILED, f"the gateway answered {status} with what is no problem document; is it a gateway?")
    needs = "" if problem.role is None else f" The role is {problem.role}."
    for fault in problem.errors:
        complain(f"{fault.pointer or '/'}: {fault.detail}")
    code = _EXITS.get(HTTPStatus(status), ExitCode.FAILED)
    then = f" {advice}" if advice and status == HTTPStatus.UNAUTHORIZED else ""
    _end(code, f"{problem.detail}{needs}{then} ({status} {problem.code}, request {problem.request_id})")


def _end(code: ExitCode, message: str) -> Never:
    complain(message)
    raise typer.Exit(code)
