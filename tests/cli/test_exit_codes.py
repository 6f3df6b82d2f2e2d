"""Each exit code that docs/CLI.md promises, and how a command ends where a person is asked, or has had enough."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from ops.cli import watching
from ops.cli.errors import ExitCode
from ops.cli.main import app
from tests.architecture.tree import text_of
from tests.cli.admin_stand_in import StandIn, stand_in

ROW: Final = re.compile(r"^\| (\d+) \|", re.MULTILINE)
JOB: Final = "job_01jd3k5m7p9q1r3s5t7v9w1x3y"
PURGE: Final = ("deadletter", "purge", "globex", JOB, "--reason", "no longer wanted")


@pytest.fixture
def api() -> Iterator[StandIn]:
    with stand_in() as standing:
        yield standing


def variables(api: StandIn) -> dict[str, str]:
    return {"ENV": "prod", "LOCKGATE_GATEWAY": api.url, "LOCKGATE_TOKEN": "a-token", "NO_COLOR": "1"}


def run(api: StandIn, *arguments: str, **more: str) -> Result:
    env = variables(api) | more
    return CliRunner().invoke(app, arguments, env=env, catch_exceptions=False, prog_name="lockgate")


def started(api: StandIn, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", *arguments],
        env={"PATH": os.defpath, **variables(api)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_table_has_every_code() -> None:
    assert {int(code) for code in ROW.findall(text_of("docs/CLI.md"))} == set(ExitCode)


def test_what_was_asked_is_done(api: StandIn) -> None:
    assert run(api, "job", "list", "globex").exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, ExitCode.AUTH),
        (403, ExitCode.AUTH),
        (404, ExitCode.NOT_FOUND),
        (409, ExitCode.CONFLICT),
        (422, ExitCode.USAGE),
        (429, ExitCode.FAILED),
        (503, ExitCode.FAILED),
    ],
)
def test_a_refusal_of_the_api_has_its_code_and_its_sentence(api: StandIn, status: int, code: ExitCode) -> None:
    api.refuses = status
    ran = run(api, "job", "show", "globex", JOB)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.startswith("lockgate: Refused.")
    assert f"({status} refused_here, request req_1)" in ran.stderr


def test_a_gateway_that_is_not_there_is_a_failure(api: StandIn) -> None:
    ran = run(api, "job", "list", "globex", LOCKGATE_GATEWAY="http://127.0.0.1:1")
    assert (ran.exit_code, "is the gateway up?" in ran.stderr) == (ExitCode.FAILED, True)


@pytest.mark.parametrize("gateway", ["gateway.example", "ftp://gateway.example", "http://[", "http://x:port"])
def test_what_is_no_gateway_is_wrong_usage(api: StandIn, gateway: str) -> None:
    ran = run(api, "job", "list", "globex", LOCKGATE_GATEWAY=gateway)
    assert (ran.exit_code, "is no URL of a gateway" in ran.stderr) == (ExitCode.USAGE, True)


def test_no_token_is_sent_where_anybody_can_read_it(api: StandIn) -> None:
    ran = run(api, "job", "list", "globex", LOCKGATE_GATEWAY="http://gateway.invalid")
    assert (ran.exit_code, "say https://" in ran.stderr) == (ExitCode.USAGE, True)


def test_wrong_usage_asks_nothing(api: StandIn) -> None:
    assert run(api, "job", "cancel", "globex", JOB).exit_code == ExitCode.USAGE
    assert api.asked == []


def test_nobody_is_waited_for_longer_than_was_said(api: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ran = run(api, "job", "list", "globex", "--timeout", "0.05", LOCKGATE_GATEWAY=url)
    assert (ran.exit_code, ran.stderr) == (ExitCode.TIMED_OUT, f"lockgate: {url} has not answered within 0.05 s\n")


def test_a_log_that_was_touched_is_not_verified(api: StandIn, tmp_path: Path) -> None:
    touched = tmp_path / "audit.ndjson"
    touched.write_text("not a line of an export\n")
    assert run(api, "audit", "verify", "--file", str(touched)).exit_code == ExitCode.UNVERIFIED


@pytest.mark.parametrize(("typed", "code", "asked"), [("acme", ExitCode.DECLINED, 0), ("globex", ExitCode.OK, 1)])
def test_a_severe_act_wants_the_name_typed(api: StandIn, typed: str, code: ExitCode, asked: int) -> None:
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{typed}\n".encode())
    process = started(api, *PURGE, stdin=terminal)
    _, said = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert (process.returncode, len(api.asked)) == (code, asked), said
    assert "Type globex to go on" in said


def test_what_is_watched_is_shown_until_ctrl_c(api: StandIn) -> None:
    process = started(api, "job", "list", "globex", "--watch", "-o", "csv")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("job,status,run")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in said) == (ExitCode.INTERRUPTED, False), said


def test_no_colour_is_none(api: StandIn) -> None:
    keyboard, terminal = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-m", "ops.cli.main", "tenant", "show", "globex"],
        env={"PATH": os.defpath, "TERM": "xterm-256color", **variables(api)},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    os.close(terminal)
    shown = os.read(keyboard, 65_536)
    os.close(keyboard)
    assert (b"globex" in shown, b"\x1b[3" in shown, process.stderr) == (True, False, b"")


@pytest.mark.parametrize(("typed", "found"), [("tena", "tenant"), ("job ca", "cancel"), ("job list --wat", "--watch")])
def test_a_shell_completes_nouns_verbs_and_options(typed: str, found: str) -> None:
    program = Path(sys.executable).with_name("lockgate")
    script = CliRunner().invoke(app, ["completion", "bash"], prog_name="lockgate").stdout
    words = ["lockgate", *typed.split()]
    ask = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _lockgate_completion {program}"
    ran = subprocess.run(
        ["/bin/bash", "-c", f'{script}\n{ask}; echo "${{COMPREPLY[@]}}"'],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.split() == [found], ran


def test_what_is_watched_is_shown_again_only_when_it_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0)
    looks = iter(["one\n", "one\n", "two\n"])
    with pytest.raises(StopIteration):
        watching.show(lambda: next(looks), watch=True)
    assert capsys.readouterr().out == "one\ntwo\n"
