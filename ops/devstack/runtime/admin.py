"""The local AgentCore's own private routes, under a path AWS does not have: what runs, and faults.

They live on the control plane's port alone, so nothing that speaks to the data plane can come to depend on them.
"""

from aiohttp import web
from pydantic import ValidationError

from ops.devstack.runtime.answers import json_answer
from ops.devstack.runtime.faults import Fault, Faults
from ops.devstack.runtime.session import Session
from ops.devstack.runtime.supervisor import Supervisor

PREFIX = "/_local/"


class _Injection(Fault):
    agent_runtime_id: str


class Admin:
    """The private routes."""

    def __init__(self, *, supervisor: Supervisor, faults: Faults) -> None:
        self._supervisor = supervisor
        self._faults = faults

    def app(self) -> web.Application:
        """Return the application to mount at PREFIX."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self.health),
                web.get("/sessions", self.sessions),
                web.get("/faults", self.faults),
                web.post("/faults", self.inject),
                web.delete("/faults", self.clear),
            ]
        )
        return app

    async def health(self, _: web.Request) -> web.Response:
        """Say that both planes serve."""
        return json_answer({"status": "ok"})

    async def sessions(self, _: web.Request) -> web.Response:
        """List the sessions that have a process."""
        return json_answer({"sessions": [_view(session) for session in self._supervisor.sessions()]})

    async def faults(self, _: web.Request) -> web.Response:
        """List the faults that wait."""
        waiting = {
            runtime_id: [fault.model_dump(by_alias=True, exclude_none=True) for fault in faults]
            for runtime_id, faults in self._faults.waiting().items()
        }
        return json_answer({"faults": waiting})

    async def inject(self, request: web.Request) -> web.Response:
        """Add a fault: the fields of Fault, and `agentRuntimeId`."""
        try:
            wish = _Injection.model_validate_json(await request.read())
        except ValidationError as error:
            return json_answer({"message": str(error)}, 400)
        fault = Fault.model_validate(wish.model_dump(exclude={"agent_runtime_id"}))
        self._faults.inject(wish.agent_runtime_id, fault)
        return json_answer({}, 201)

    async def clear(self, _: web.Request) -> web.Response:
        """Forget every fault."""
        self._faults.clear()
        return json_answer({})


def _view(session: Session) -> dict[str, object]:
    return {
        "agentRuntimeId": session.key.runtime_id,
        "sessionId": session.key.session_id,
        "agentRuntimeVersion": str(session.version),
        "state": session.state,
        "bootId": session.boot,
        "pid": None if session.process is None else session.process.pid,
        "ping": session.seen.ping.status,
        "inFlight": session.seen.in_flight,
        "createdAt": session.created_at.isoformat(),
    }
