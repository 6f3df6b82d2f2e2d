"""What operators do to keys, agents and the audit log from the command line, on a running stack."""

import uuid
from pathlib import Path

import orjson
import pytest

from ops.devstack.stack import Stack
from tests.flows.commands import Run, commands, shown
from tests.flows.conftest import ECHO, Caller

pytestmark = pytest.mark.stack


@pytest.fixture
def run(stack: Stack) -> Run:
    """Return what runs `lockgate …` beside the stack."""
    return commands(stack)


async def test_a_keys_life_from_the_command_line(run: Run, acme: Caller) -> None:
    key = shown(run, "key", "create", "acme", "--label", "import", "--reason", "tried")

    async def opened(secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        async with acme.session.post(acme.gateway + ECHO, json=acme.echo(), headers=headers) as answer:
            return answer.status

    assert await opened(key["key"]) == 200
    new = shown(run, "key", "rotate", "acme", key["id"], "--overlap-s", "600", "--reason", "yearly")
    assert [await opened(one["key"]) for one in (key, new)] == [200, 200]
    listed = run("key", "list", "acme", "--prefix", key["prefix"])
    assert listed.stdout.splitlines()[1].split()[:3] == [key["id"], "rotating", new["prefix"]]
    declined = run("key", "revoke", "acme", key["id"], "--reason", "leaked")
    assert (declined.returncode, "--yes" in declined.stderr) == (3, True)
    dry = shown(run, "key", "revoke", "acme", key["id"], "--reason", "leaked", "--dry-run")
    assert dry["path"].endswith(f"/api-keys/{key['id']}/revoke")
    assert await opened(new["key"]) == 200
    assert shown(run, "key", "revoke", "acme", key["id"], "--reason", "leaked", "--yes")["status"] == "revoked"
    assert [await opened(one["key"]) for one in (key, new)] == [401, 401]


def test_a_release_and_its_roll_back_from_the_command_line(run: Run, tmp_path: Path) -> None:
    name, told = f"a{uuid.uuid4().hex[:12]}", tmp_path / "version.json"
    arn = "arn:aws:bedrock-agentcore:eu-west-1:123456789012:runtime/echo-0123456789"
    for number in ("1.0.0", "1.1.0"):
        version = {"name": name, "version": number, "description": "Echo", "modes": ["sync"], "runtimeArn": arn}
        told.write_bytes(orjson.dumps(version))
        assert shown(run, "agent", "register", str(told), "--reason", "release")["state"] == "built"
        for step in ("deployed", "verified", "evaluated", "approved"):
            assert shown(run, "agent", "state", name, number, step, "--reason", "release")["state"] == step
        assert shown(run, "agent", "promote", name, number, "--reason", "release")["state"] == "promoted"
    assert shown(run, "agent", "roll-back", name, "1.1.0", "--reason", "wrong")["state"] == "rolled_back"
    last = run("agent", "roll-back", name, "1.0.0", "--reason", "wrong")
    assert (last.returncode, "last_promoted" in last.stderr) == (6, True)
    lines = run("agent", "versions", name, "-o", "csv").stdout.splitlines()
    assert [line.split(",")[1:3] for line in lines[1:]] == [["1.1.0", "rolled_back"], ["1.0.0", "promoted"]]


def test_the_audit_log_is_exported_verified_and_shows_a_touch(run: Run, tmp_path: Path) -> None:
    shown(run, "tenant", "update", "globex", "--redaction", "off", "--tier", "basic", "--reason", "as it is")
    shown(run, "key", "create", "globex", "--label", "audited", "--reason", "tried")
    listed = run("audit", "list", "--tenant", "globex", "--operation", "api_key.create", "-o", "ndjson")
    assert orjson.loads(listed.stdout.splitlines()[0])["after"]["label"] == "audited"
    whole = run("audit", "verify")
    assert (whole.returncode, "all whole" in whole.stdout) == (0, True)
    kept = tmp_path / "audit.ndjson"
    assert run("audit", "export", "--file", str(kept)).returncode == 0
    kept.write_bytes(kept.read_bytes().replace(b'"tried"', b'"other"', 1))
    touched = run("audit", "verify", "--file", str(kept))
    assert (touched.returncode, "is broken at event" in touched.stderr) == (7, True)


def test_a_tenants_work_is_listed_from_the_command_line(run: Run) -> None:
    assert run("invocation", "list", "acme", "--limit", "5").stdout.splitlines()[0].split()[0] == "invocation"
    assert run("job", "list", "acme", "--status", "succeeded", "-o", "csv").returncode == 0
    for noun in (("session", "list", "acme"), ("webhook", "list", "acme"), ("deadletter", "list")):
        assert isinstance(shown(run, *noun), list)
    missing = run("job", "show", "acme", "job_01jd3k5m7p9q1r3s5t7v9w1x3y")
    assert (missing.returncode, "not_found" in missing.stderr) == (5, True)
