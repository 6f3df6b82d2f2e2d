"""What a log line can hold, whoever made up the words: one process with the real set-up, and all that it writes."""

import subprocess
import sys

import orjson

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZWNyZXQifQ.c2lnbmF0dXJl"
SECRETS = (f"Bearer {JWT}", JWT, "lg_live_abcDEF123", "whsec_MfKQ9r8G+/==", "bearer opaque-but-secret")
FORGERIES = (
    'a\n{"event":"forged"}',
    "a\r\nb",
    "a\x1b[31mb",
    "a\u2028b",
    "a\u2029b",
    "a\x85b",
    "a\x9b31mb",
    "a\u202eb",
    "a\u2066b",
    "a\x00b",
)
SCRIPT = """
import logging, sys, orjson, structlog
from ops import telemetry
from ops.settings import Settings

telemetry.configure(Settings(log_level="debug"), "test")
log = structlog.get_logger("test")
for said in orjson.loads(sys.stdin.buffer.read()):
"""


def written(does: str, said: tuple[str, ...]) -> tuple[str, list[dict[str, object]]]:
    """Return what a process writes that does something with each of `said`."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT + does], input=orjson.dumps(said), capture_output=True, check=True
    )
    assert ended.stderr == b""
    return ended.stdout.decode(), [orjson.loads(line) for line in ended.stdout.splitlines()]


def test_a_secret_in_the_words_of_an_exception_or_a_library_is_not_written() -> None:
    raises = """
    try:
        raise RuntimeError(f"could not send {said} anywhere")
    except RuntimeError as error:
        log.error("failed", exc_info=error)
        logging.getLogger("library").exception("it said %s", said)
"""
    text, lines = written(raises, SECRETS)
    assert [secret for secret in SECRETS if secret.rpartition(" ")[2] in text] == []
    assert [line["event"] for line in lines] == ["failed", "it said (secret)"] * len(SECRETS)
    assert {str(line["exception"]).splitlines()[-1] for line in lines} == {
        "RuntimeError: could not send (secret) anywhere"
    }


def test_nothing_that_was_said_ends_a_line_or_reaches_a_terminal() -> None:
    text, lines = written("    log.info('heard', words=said)", FORGERIES)
    assert [line["words"] for line in lines] == list(FORGERIES)
    assert len(text.splitlines()) == len(FORGERIES)
    assert [line for line in text.splitlines() if not line.isprintable()] == []


def test_half_a_character_stops_no_line() -> None:
    _, (line,) = written("    log.info('heard', words=b'\\xff'.decode('utf-8', 'surrogateescape'))", ("",))
    assert "heard" in str(line["said"])
