"""Word of changed records between processes, over Redis publish and subscribe.

Word may be lost (nothing is stored): after every connect the listeners of gaps are told, and `current` is false as
soon as the connection has shown no sign of life for SIGHT_S. Redis sends a subscriber its messages in their order, so
a sign of life proves that no earlier word is outstanding: who trusts a copy only while `current` misses no change for
longer than SIGHT_S. A change that Redis did not take is told in this process and announced once Redis is back.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from tenancy.clock import Clock

CHANNEL: Final = "lockgate:changes"
FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 5.0
OWED_LIMIT: Final = 1_000
# A connection silent for this long is asked for a sign of life.
PULSE_S: Final = 0.5
# One that has given none for this long is no longer trusted …
SIGHT_S: Final = 1.5
# … and for this long, is given up.
SILENCE_S: Final = 15.0

_log = structlog.stdlib.get_logger(__name__)


class _Change(BaseModel):
    """The message on the wire."""

    model_config = ConfigDict(frozen=True, strict=True)

    kind: str
    key: str


class ChangeFeed:
    """Announces changes and tells listeners of those announced anywhere, its own process included.

    Listeners are plain functions that must not raise. `malformed` counts messages that were ignored,
    `unannounced` changes that Redis did not take.
    """

    def __init__(self, redis: Redis, *, clock: Clock, pulse_s: float = PULSE_S, silence_s: float = SILENCE_S) -> None:
        self._redis = redis
        self._clock = clock
        self._pulse_s = pulse_s
        self._silence_s = silence_s
        self._heard_at_s = -math.inf
        # Changes that Redis did not take, oldest first.
        self._owed: dict[_Change, None] = {}
        self._listeners: defaultdict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._gap_listeners: list[Callable[[], None]] = []
        self._retry_s = FIRST_RETRY_S
        self.malformed = 0
        self.unannounced = 0

    @property
    def current(self) -> bool:
        """Whether every change announced more than SIGHT_S ago has been told."""
        return self._clock.monotonic() - self._heard_at_s < SIGHT_S

    def on(self, kind: str, listener: Callable[[str], None]) -> None:
        """Call `listener` with the key of every change of this kind."""
        self._listeners[kind].append(listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever changes may have been missed."""
        self._gap_listeners.append(listener)

    async def publish(self, kind: str, key: str) -> None:
        """Announce a change; does not raise when Redis is away, for the change itself is already stored."""
        change = _Change(kind=kind, key=key)
        try:
            await self._announce(change)
        except (RedisError, OSError) as error:
            self.unannounced += 1
            _log.warning("change_not_announced", kind=kind, error=type(error).__name__)
            self._owed[change] = None
            if len(self._owed) > OWED_LIMIT:
                del self._owed[next(iter(self._owed))]
            self._tell_of(change)

    async def run(self) -> None:
        """Listen until cancelled, connecting again with growing pauses whenever the connection is lost."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                _log.warning("change_feed_lost", error=type(error).__name__, retry_s=self._retry_s)
            await self._clock.sleep(self._retry_s)
            self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)

    async def _listen(self) -> None:
        pubsub = self._redis.pubsub()
        try:
            await pubsub.subscribe(CHANNEL)
            while True:
                self._take(await self._next(pubsub))
                await self._pay()
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _next(self, pubsub: PubSub) -> dict[str, object]:
        asked_at_s = self._clock.monotonic()
        while self._clock.monotonic() - asked_at_s < self._silence_s:
            message: dict[str, object] | None = await pubsub.get_message(timeout=self._pulse_s)
            if message is not None:
                self._heard_at_s = self._clock.monotonic()
                return message
            await pubsub.ping()
        raise RedisConnectionError("silent")

    async def _announce(self, change: _Change) -> None:
        await self._redis.publish(CHANNEL, change.model_dump_json())

    async def _pay(self) -> None:
        """Announce what Redis did not take before."""
        for change in tuple(self._owed):
            await self._announce(change)
            self._owed.pop(change, None)

    def _take(self, message: dict[str, object]) -> None:
        match message:
            # The client may have connected again by itself; it cannot do so without subscribing again.
            case {"type": "subscribe"}:
                self._retry_s = FIRST_RETRY_S
                for listener in self._gap_listeners:
                    listener()
            case {"type": "message", "data": bytes() | str() as data}:
                self._tell(data)

    def _tell(self, data: bytes | str) -> None:
        try:
            change = _Change.model_validate_json(data)
        except ValidationError:
            self.malformed += 1
        else:
            self._tell_of(change)

    def _tell_of(self, change: _Change) -> None:
        for listener in self._listeners.get(change.kind, ()):
            listener(change.key)
