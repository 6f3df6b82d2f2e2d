"""All sessions: at most one process for a (runtime, session id), started, found again, stopped, counted.

A session keeps the version it began with. While one is starting or ending, every other operation on its id is
refused as AWS does it, and may be tried again.
"""

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from ops.devstack.runtime.artifact import AgentCode, CodeRoot
from ops.devstack.runtime.deadline import Deadline
from ops.devstack.runtime.errors import (
    NotFoundError,
    QuotaExceededError,
    RuntimeApiError,
    SessionInTransitionError,
    ThrottledError,
)
from ops.devstack.runtime.faults import STARTS, Faults
from ops.devstack.runtime.forkserver import ForkOrder
from ops.devstack.runtime.lifecycle import EndReason, Rules
from ops.devstack.runtime.limits import Limits, TokenBucket
from ops.devstack.runtime.owned import OwnedTasks
from ops.devstack.runtime.registry import Runtime, Version
from ops.devstack.runtime.session import Session, SessionKey
from ops.devstack.runtime.zygotes import Zygotes
from tenancy.clock import Clock

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 0.0


@dataclass(slots=True)
class _Entry:
    session: Session
    started: "asyncio.Future[RuntimeApiError | None]"
    gone: asyncio.Event


class Supervisor:
    """Owns every agent process; their homes and logs are in `state`."""

    def __init__(
        self,
        *,
        code_root: CodeRoot,
        zygotes: Zygotes,
        state: Path,
        limits: Limits,
        strict_ping: bool,
        faults: Faults,
        clock: Clock,
    ) -> None:
        self._code_root = code_root
        self._zygotes = zygotes
        self._state = state
        self._limits = limits
        self._strict_ping = strict_ping
        self._faults = faults
        self._clock = clock
        self._new_sessions = TokenBucket(clock, limits.new_sessions_per_s)
        self._entries: dict[SessionKey, _Entry] = {}
        self._lives = OwnedTasks()
        self._sockets = tempfile.TemporaryDirectory(prefix="lockgate-")
        self._numbers = count(1)

    def sessions(self) -> Iterable[Session]:
        """Return the sessions that have, or are about to have, a process."""
        return [entry.session for entry in self._entries.values()]

    async def acquire(self, runtime: Runtime, version: Version, endpoint_arn: str, session_id: str) -> Session:
        """Return the ready session of this id, started with `version` if there is none; raises RuntimeApiError."""
        key = SessionKey(runtime.id, session_id)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._begin(key, version, endpoint_arn)
            # A caller that leaves does not stop the start: the next one finds a ready session.
            if (error := await asyncio.shield(entry.started)) is not None:
                raise error
        elif not entry.session.is_ready:
            raise SessionInTransitionError
        return entry.session

    async def stop(self, runtime_id: str, session_id: str) -> None:
        """End a session; returns when its process is gone, or after the answer time while it still ends."""
        entry = self._entries.get(SessionKey(runtime_id, session_id))
        if entry is None:
            raise NotFoundError("Session not found or already terminated")
        if not entry.session.is_ready:
            raise SessionInTransitionError
        entry.session.ask_to_end("stopped")
        with contextlib.suppress(TimeoutError):
            async with Deadline(self._clock, self._limits.stop_answer_s):
                await entry.gone.wait()

    async def stop_all_of(self, runtime_id: str) -> None:
        """End every session of a runtime and wait until they are gone."""
        entries = [entry for key, entry in self._entries.items() if key.runtime_id == runtime_id]
        for entry in entries:
            entry.session.ask_to_end("stopped")
        for entry in entries:
            await entry.gone.wait()

    async def aclose(self) -> None:
        """End every session at once."""
        await self._lives.aclose()
        self._sockets.cleanup()

    def _begin(self, key: SessionKey, version: Version, endpoint_arn: str) -> _Entry:
        code = self._code_root.locate(version.spec.agent_runtime_artifact)
        if len(self._entries) >= self._limits.active_sessions:
            raise QuotaExceededError("maxVms limit exceeded")
        if not self._new_sessions.take():
            raise ThrottledError
        lifecycle = version.spec.lifecycle_configuration
        rules = Rules(lifecycle.idle_s, lifecycle.lifetime_s, self._limits.unhealthy_pings, self._strict_ping)
        order = self._order(key, version, code, endpoint_arn)
        session = Session(key, version.number, order=order, rules=rules, limits=self._limits, clock=self._clock)
        entry = _Entry(session, asyncio.get_running_loop().create_future(), asyncio.Event())
        self._entries[key] = entry
        self._lives.spawn(self._live(entry, code))
        return entry

    async def _live(self, entry: _Entry, code: AgentCode) -> None:
        """One session from its first moment to its last."""
        session, key = entry.session, entry.session.key
        reason: EndReason = "shutdown"
        begun = self._clock.monotonic()
        try:
            slow = self._faults.take(key.runtime_id, STARTS)
            await session.start(await self._zygotes.get(code.python), slow.delay_s if slow else 0.0)
            entry.started.set_result(None)
            took = self._clock.monotonic() - begun
            _log.info("ready runtime=%s session=%s s=%.3f", key.runtime_id, key.session_id, took)
            reason = await session.watch()
        except RuntimeApiError as error:
            reason = "failed"
            entry.started.set_result(error)
        finally:
            gentle = reason not in {"shutdown", "failed"}
            try:
                await session.end(self._limits.stop_grace_s if gentle else _AT_ONCE)
            finally:
                await session.aclose()
                del self._entries[key]
                entry.gone.set()
                _log.info("ended runtime=%s session=%s reason=%s", key.runtime_id, key.session_id, reason)

    def _order(self, key: SessionKey, version: Version, code: AgentCode, endpoint_arn: str) -> ForkOrder:
        logs, home = self._state / "logs", self._state / "home"
        logs.mkdir(parents=True, exist_ok=True)
        home.mkdir(parents=True, exist_ok=True)
        return ForkOrder(
            socket=str(Path(self._sockets.name) / f"{next(self._numbers)}"),
            folder=str(code.folder),
            entry=str(code.folder / code.entry),
            log=str((logs / f"{key.runtime_id}-v{version.number}.log").resolve()),
            env=_environment(code.python, home.resolve(), endpoint_arn) | version.spec.environment_variables,
        )


def _environment(python: Path, home: Path, endpoint_arn: str) -> dict[str, str]:
    """Return what every agent process finds in its environment; nothing of the runtime's own."""
    region = endpoint_arn.split(":")[3]
    return {
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "OTEL_RESOURCE_ATTRIBUTES": f"cloud.resource_id={endpoint_arn}",
        "PATH": f"{python.absolute().parent}{os.pathsep}{os.defpath}",
    }
