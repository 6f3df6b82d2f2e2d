"""An operator signs in from the command line on a running stack, and acts as oneself."""

import stat
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from ops.devstack.issuer import read_clients
from ops.devstack.people import OPERATOR
from ops.devstack.stack import Stack
from tests.flows.commands import Ran, Run, commands, shown

pytestmark = pytest.mark.stack


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> Run:
    """Return what runs `lockgate …` beside the stack, by an account of its own."""
    return partial(commands(stack), XDG_STATE_HOME=str(tmp_path))


@pytest.fixture
def remote(run: Run, stack: Stack) -> Run:
    """Return the same against the gateway alone, as from another machine."""
    return partial(run, ENV="prod", LOCKGATE_GATEWAY=stack.gateway)


def kept(tmp_path: Path) -> Path:
    return tmp_path / "lockgate" / "logins.json"


def change(tmp_path: Path, **fields: object) -> None:
    logins: dict[str, dict[str, Any]] = orjson.loads(kept(tmp_path).read_bytes())
    kept(tmp_path).write_bytes(orjson.dumps({gateway: login | fields for gateway, login in logins.items()}))


def test_who_signed_in_acts_as_oneself_until_signed_out(run: Run, remote: Run, tmp_path: Path, stack: Stack) -> None:
    before = remote("tenant", "list")
    assert (before.returncode, "lockgate auth login" in before.stderr) == (4, True)
    assert remote("auth", "status").returncode == 4
    signed = run("auth", "login", "--approve")
    assert (signed.returncode, signed.stdout) == (0, f"signed in to {stack.gateway}\n"), signed
    assert f"Open {stack.ports.url('issuer')}/device and enter the code " in signed.stderr
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept(tmp_path), kept(tmp_path).parent)] == [0o600, 0o700]
    status = shown(remote, "auth", "status")
    assert (status["roles"], status["renewed"]) == (["Platform.Admin", "Platform.Operator"], "by itself")
    assert remote("tenant", "suspend", "globex", "--reason", "signed in").returncode == 0
    assert remote("tenant", "reinstate", "globex", "--reason", "signed in").returncode == 0
    done = remote("audit", "list", "--tenant", "globex", "--limit", "1", "-o", "ndjson")
    assert orjson.loads(done.stdout)["actor"] == status["subject"]
    said = [signed, remote("auth", "status"), done, remote("auth", "logout"), remote("auth", "logout")]
    assert [ran.stdout.startswith(("signed out", "nobody was")) for ran in said[3:]] == [True, True]
    assert not any("eyJ" in ran.stdout + ran.stderr for ran in said)
    assert remote("tenant", "list").returncode == 4


def test_a_sign_in_is_renewed_and_ends_where_it_cannot_be(run: Run, remote: Run, tmp_path: Path) -> None:
    assert run("auth", "login", "--approve").returncode == 0
    [first] = orjson.loads(kept(tmp_path).read_bytes()).values()
    past = datetime(2025, 1, 1, tzinfo=UTC).isoformat()
    change(tmp_path, expires_at=past)
    assert remote("tenant", "list").returncode == 0
    [second] = orjson.loads(kept(tmp_path).read_bytes()).values()
    assert first["access_token"] != second["access_token"]
    assert first["signed_in_at"] == second["signed_in_at"]
    change(tmp_path, expires_at=past, refresh_token="e30.e30.e30")
    over = remote("tenant", "list")
    assert (over.returncode, "`lockgate auth login` signs you in again" in over.stderr) == (4, True)
    change(tmp_path, refresh_token=None)
    assert remote("tenant", "list").returncode == 4
    ended = remote("auth", "status", "-o", "json")
    assert (ended.returncode, orjson.loads(ended.stdout)["renewed"]) == (4, "over")
    kept(tmp_path).write_text("{")
    damaged = remote("auth", "status")
    assert (damaged.returncode, "is damaged; delete it" in damaged.stderr) == (1, True)


def test_a_pipeline_acts_by_its_applications_secret(remote: Run, stack: Stack) -> None:
    state = stack.layout.data("issuer")
    secret = next(client.secret for client in read_clients(state) if client.client_id == OPERATOR.client_id)
    named = {
        "LOCKGATE_AUTHORITY": stack.ports.url("issuer"),
        "LOCKGATE_DIRECTORY": OPERATOR.directory,
        "LOCKGATE_CLIENT_ID": OPERATOR.client_id,
    }
    ran = remote("tenant", "show", "acme", **named, LOCKGATE_CLIENT_SECRET=secret)
    assert (ran.returncode, secret in ran.stdout + ran.stderr) == (0, False), ran
    wrong = remote("tenant", "show", "acme", **named, LOCKGATE_CLIENT_SECRET="x" + secret)
    assert (wrong.returncode, "invalid_client" in wrong.stderr, secret in wrong.stderr) == (4, True, False)
    alone = remote("tenant", "show", "acme", LOCKGATE_CLIENT_SECRET=secret)
    assert (alone.returncode, "LOCKGATE_DIRECTORY and LOCKGATE_CLIENT_ID" in alone.stderr) == (2, True)


def test_what_signing_in_needs_is_named(run: Run, remote: Run) -> None:
    def refused(ran: Ran) -> tuple[int, str]:
        return ran.returncode, ran.stderr

    assert refused(remote("auth", "login")) == (
        2,
        "lockgate: say with what to sign in: LOCKGATE_DIRECTORY and LOCKGATE_CLIENT_ID\n",
    )
    code, said = refused(remote("auth", "login", "--approve"))
    assert (code, "for the dev stack" in said) == (2, True)
    code, said = refused(remote("auth", "login", LOCKGATE_AUTHORITY="http://example.com"))
    assert (code, said.startswith("lockgate: LOCKGATE_AUTHORITY: ")) == (2, True)
    stranger = {"LOCKGATE_DIRECTORY": OPERATOR.directory, "LOCKGATE_CLIENT_ID": "stranger"}
    code, said = refused(remote("auth", "login", **stranger, LOCKGATE_AUTHORITY="http://127.0.0.1:1"))
    assert (code, "does not answer as an authority" in said) == (4, True)
    code, said = refused(run("dev", "approve", "nonsense"))
    assert (code, "it looks like WDJB-MJHT" in said) == (2, True)
