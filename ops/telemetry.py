"""Logs: one JSON object a line on stdout, and nothing in it that was said by a tenant or an agent.

Lines are made of words of our own. What an exception or a library says is not: secrets are taken out of it, and no
character of it can end a line or turn a terminal around.
"""

import atexit
import logging
import re
import sys
from typing import Final

import orjson
import structlog
from prometheus_client import CollectorRegistry

from ops.logs import LineWriter
from ops.readings import Readings
from ops.settings import Settings
from tenancy.clock import SystemClock

# Bearer tokens, JWTs, API keys, webhook secrets.
_SECRET: Final = re.compile(r"(?i:bearer)\s+[^\s\"']+|eyJ[\w-]{8,}(?:\.[\w-]*)*|(?:lg_live_|whsec_)[\w+/=-]+")
# Methods that are not called like the level they log at.
_LEVELS: Final = {"exception": "error", "warn": "warning"}
# What JSON lets through: other line ends, C1 controls, and what reverses the direction of text.
_UNSEEN: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x80, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


class Telemetry:
    """A process's log. Written beside the event loop, so that whoever reads stdout slowly slows nobody down."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def measured(self, metrics: CollectorRegistry) -> None:
        """Count lines that nobody took among the process's metrics."""
        Readings(metrics).total(
            "lockgate_log_lines_dropped", "Log lines that nobody took in time", lambda: self._writer.dropped
        )

    def close(self) -> None:
        """Give the lines that are held a last second."""
        self._writer.close()

    def msg(self, line: bytes) -> None:
        """Write a line, as structlog wants it written."""
        self._writer.put(line)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Handler(logging.Handler):
    """What libraries log through the standard library."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._writer.put(self.format(record).encode())


def configure(settings: Settings, process: str) -> Telemetry:
    """Send every log line of this process to stdout as JSON, with the process's name."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    chain: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    writer = LineWriter(
        sys.stdout.fileno(),
        lambda count: _dumps({"event": "log lines dropped", "count": count, "level": "warning", "process": process}),
    )
    atexit.register(writer.close)
    telemetry = Telemetry(writer)
    structlog.configure(
        processors=[
            _rendered(process),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: telemetry,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _named(process),
                structlog.processors.JSONRenderer(serializer=lambda event, **_: _dumps(event).decode()),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    return telemetry


def _rendered(process: str) -> structlog.typing.Processor:
    """Return what `configure`'s chain does to a line of our own, at once: two of them are written for each request."""
    clock = SystemClock()

    def render(logger: object, method: str, event: structlog.typing.EventDict) -> bytes:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        event["level"] = _LEVELS.get(method, method)
        event["timestamp"] = clock.now().isoformat().replace("+00:00", "Z")
        event["process"] = process
        return _dumps(_without_secrets(logger, method, event))

    return render


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add


def _without_secrets(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name in ("exception", "event"):
        said = event.get(name)
        if isinstance(said, str):
            event[name] = without_secrets(said)
    return event


def without_secrets(text: str) -> str:
    """Return a text with tokens, keys and secrets taken out."""
    return _SECRET.sub("(secret)", text)


def _dumps(event: object, **_: object) -> bytes:
    try:
        line = orjson.dumps(event, default=str)
    except TypeError:
        # Half a character, from bytes that were no UTF-8.
        line = orjson.dumps({"event": "not UTF-8", "level": "error", "said": repr(event)})
    return line if line.isascii() else line.decode().translate(_UNSEEN).encode()
