"""Logs: one JSON object a line on stdout, and nothing in it that was said by a tenant or an agent."""

import atexit
import logging
import sys

import orjson
import structlog
from prometheus_client import CollectorRegistry

from ops.logs import LineWriter
from ops.readings import Readings
from ops.settings import Settings


class Telemetry:
    """A process's log. Written beside the event loop, so that whoever reads stdout slowly slows nobody down."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def measured(self, metrics: CollectorRegistry) -> None:
        """Count lines that nobody took among the process's metrics."""
        dropped = ("Log lines that nobody took in time", lambda: self._writer.dropped)
        metrics.register(Readings({}, {"lockgate_log_lines_dropped": dropped}))

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
    ]
    writer = LineWriter(
        sys.stdout.fileno(),
        lambda count: _dumps({"event": "log lines dropped", "count": count, "level": "warning", "process": process}),
    )
    atexit.register(writer.close)
    telemetry = Telemetry(writer)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *chain,
            _named(process),
            structlog.processors.JSONRenderer(serializer=_dumps),
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


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add


def _dumps(event: object, **_: object) -> bytes:
    return orjson.dumps(event, default=str)
