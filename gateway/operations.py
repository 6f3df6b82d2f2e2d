"""How an operation of the API is described: what it takes, what it answers, what it can refuse.

An operation stands beside its handler. Who may call it is said once, in the route table, which guards the handler
and completes the description with the same word. Examples are values of the wire models and of the errors
themselves, so an example that does not fit cannot be written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, JsonValue

from gateway.cursors import LIMIT_DEFAULT, LIMIT_MAX
from tenancy.context import Role

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
# public: anybody · principal: whoever has a good token · tenant: who acts for an active tenant ·
# platform: the platform's own operators · agent: an agent with a tool token · tools: either that or a tenant's own.
Guard: TypeAlias = Literal["public", "principal", "tenant", "platform", "agent", "tools"]
Schema: TypeAlias = Mapping[str, JsonValue]
Place: TypeAlias = Literal["path", "query", "header"]


# What the operations are grouped by, in the order they are shown.
TAGS: Final[Mapping[str, str]] = {
    "Health": "Whether the API is up.",
    "Me": "Who is calling.",
    "Agents": "What can be invoked.",
    "Invocations": "Invoking an agent, looking at how it went, stopping it.",
    "Jobs": "Invocations that go on without a connection.",
    "Usage": "What was used, and what that cost.",
    "Webhooks": "Being told how jobs ended.",
    "Tools": "What agents call on behalf of a tenant.",
    "Tenants": "For operators: who is served, how much, and who speaks for whom.",
    "Tenants' work": "For operators: what runs for a tenant, and stopping it; what was given up on.",
    "Agent registry": "For developers and operators: versions of agents, and which of them are invoked.",
    "Tool registry": "For operators: what tools there are, and which tenants may call them.",
    "API keys": "For operators: what tenants' programs call with.",
    "Audit": "For operators: what was done, by whom and why, and what was refused.",
    "Platform health": "For operators: how the platform is, figure by figure.",
    "Quota": "For operators: the runtime sessions in use, whose they are, and stopping a tenant's.",
    "Regions": "For operators: the region agents run in, and the locks under which operators act.",
    "Description": "This description.",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a request; what stands in the path is always required."""

    name: str
    place: Place
    description: str
    schema: Schema
    example: JsonValue
    required: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A body in one media type, with named examples: models give their own schema, other values need one."""

    examples: Mapping[str, BaseModel | JsonValue]
    schema: Schema | None = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one status says; `headers` are those beside the ones every answer carries."""

    status: int
    description: str
    contents: tuple[Content, ...] = ()
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `problems` are errors as it can end with them.

    What every operation behind the same guard can refuse (401, 403, 429, …) is not repeated. `names_invocation` says
    that also its problems carry the ids of the invocation they ended. Members of its answer that are `shown_once` are
    left out where it is given again under an Idempotency-Key. `also` are answers beside the problem documents of the
    same status. `guard` and `role` are the route table's to fill in.
    """

    method: Method
    path: str
    id: str
    tag: str
    summary: str
    description: str
    answers: tuple[Answer, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    body_optional: bool = False
    problems: tuple[Exception, ...] = ()
    also: tuple[Answer, ...] = ()
    names_invocation: bool = False
    shown_once: tuple[str, ...] = ()
    guard: Guard = "public"
    role: Role | None = None


def answer(status: int, description: str, example: BaseModel, *, headers: tuple[str, ...] = ()) -> Answer:
    """Describe an answer in JSON by an example of its wire model."""
    return Answer(status, description, (Content({"example": example}),), headers)


AGENT = Parameter(
    "agent",
    "path",
    "An agent's name.",
    {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,46}[a-z0-9]$", "minLength": 2, "maxLength": 48},
    "echo-agent",
)
INVOCATION = Parameter(
    "invocation",
    "path",
    "An invocation's id, as `X-Invocation-Id` gave it.",
    {"type": "string", "pattern": "^inv_[0-9a-hjkmnp-tv-z]{26}$", "minLength": 30, "maxLength": 30},
    "inv_01jd3k5m7p9q1r3s5t7v9w1x3y",
)
JOB = Parameter(
    "job",
    "path",
    "A job's id.",
    {"type": "string", "pattern": "^job_[0-9a-hjkmnp-tv-z]{26}$", "minLength": 30, "maxLength": 30},
    "job_01jd3k5m7p9q1r3s5t7v9w1x3y",
)
LIMIT = Parameter(
    "limit",
    "query",
    "How many items a page holds at most.",
    {"type": "integer", "format": "int32", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    LIMIT_DEFAULT,
)
CURSOR = Parameter(
    "cursor",
    "query",
    "Where the list goes on: the `nextCursor` of the page before. It is opaque and works for its own tenant alone.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "minLength": 1, "maxLength": 512},
    "WyJhY21lIiwiSk9CI2pvYl8wMWpkM2s1bTdwOXExcjNzNXQ3djl3MXgzeSJd",
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "Makes it safe to send the request again: within 24 hours, the same key with the same request is given the same "
    "answer, with `Idempotency-Replayed: true`, and nothing is done twice. 1 to 255 visible ASCII characters; quotes "
    "around them are no part of the key. A member that is shown once is left out of a replay.",
    {"type": "string", "pattern": "^[!-~]{1,255}$", "minLength": 1, "maxLength": 255},
    "7f3d2c1e-order-4711",
)
