"""Word of changed records between processes, over Redis publish and subscribe.

Word may be lost (nothing is stored): after every connect the listeners of gaps are told, and what is cached stays
bounded in age. A change that could not be announced is seen by others once their copies have aged.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Final

import orjson
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
# A connection silent for this long is asked for a sign of life, and given up after as long again.
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

    def __init__(self, redis: Redis, *, clock: Clock, silence_s: float = SILENCE_S) -> None:
        self._redis = redis
        self._clock = clock
        self._silence_s = silence_s
        self._listeners: defaultdict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._gap_listeners: list[Callable[[], None]] = []
        self._retry_s = FIRST_RETRY_S
        self.malformed = 0
        self.unannounced = 0

    def on(self, kind: str, listener: Callable[[str], None]) -> None:
        """Call `listener` with the key of every change of this kind."""
        self._listeners[kind].append(listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever changes may have been missed."""
        self._gap_listeners.append(listener)

    async def publish(self, kind: str, key: str) -> None:
        """Announce a change; does not raise when Redis is away, for the change itself is already stored."""
        try:
            await self._redis.publish(CHANNEL, orjson.dumps({"kind": kind, "key": key}))
        except (RedisError, OSError) as error:
            self.unannounced += 1
            _log.warning("change_not_announced", kind=kind, error=type(error).__name__)

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
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _next(self, pubsub: PubSub) -> dict[str, object]:
        message: dict[str, object] | None = await pubsub.get_message(timeout=self._silence_s)
        if message is None:
            await pubsub.ping()
            message = await pubsub.get_message(timeout=self._silence_s)
        if message is None:
            raise RedisConnectionError("silent")
        return message

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
            return
        for listener in self._listeners.get(change.kind, ()):
            listener(change.key)
