import os
import stat
import subprocess
from pathlib import Path

import orjson
import pytest

from ops.devstack.dev_files import DevFile, DevOperator, DevTenant, read_dev_file, remove_dev_files, write_dev_env
from ops.devstack.environment import child_environment, lockgate_variables
from ops.devstack.layout import DevKeys, Layout, StateUnreadableError, write_private
from ops.devstack.lock import StackRunningError, only_stack
from ops.devstack.ports import Ports
from tenancy.ids import TenantId
from tenancy.tiers import Tier

KEYS = DevKeys(access_key="123456789012", secret_key="s" * 40)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state")
    made.make()
    return made


def dev_file(layout: Layout) -> DevFile:
    return DevFile(
        gateway="http://127.0.0.1:8080",
        private="http://127.0.0.1:8081",
        runtime="http://127.0.0.1:8090",
        runtime_control="http://127.0.0.1:8091",
        issuer="http://127.0.0.1:8092",
        receiver="http://127.0.0.1:8093",
        tenants={TenantId("acme"): DevTenant(tier=Tier.PREMIUM, token="aaa")},
        operator=DevOperator(token="ooo"),
        pids={"gateway": 7},
        stack_pid=1,
        control=layout.state / "dev.sock",
    )


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_dev_json_has_the_contracts_names(layout: Layout) -> None:
    dev_file(layout).write(layout)
    written = orjson.loads(layout.dev_json.read_bytes())
    assert {
        name: written[name] for name in ("gateway", "runtimeControl", "receiver", "pids", "operator", "tenants")
    } == {
        "gateway": "http://127.0.0.1:8080",
        "runtimeControl": "http://127.0.0.1:8091",
        "receiver": "http://127.0.0.1:8093",
        "pids": {"gateway": 7},
        "operator": {"token": "ooo"},
        "tenants": {"acme": {"tier": "premium", "token": "aaa"}},
    }


def test_dev_json_reads_back_as_written(layout: Layout) -> None:
    assert read_dev_file(layout) is None
    dev_file(layout).write(layout)
    assert read_dev_file(layout) == dev_file(layout)


def test_a_dev_json_that_is_none_of_ours_is_said_so(layout: Layout) -> None:
    layout.dev_json.write_text('{"gateway": 1}')
    with pytest.raises(StateUnreadableError, match="make dev"):
        read_dev_file(layout)


def test_what_holds_secrets_is_closed_to_others(layout: Layout) -> None:
    dev_file(layout).write(layout)
    write_dev_env(layout, {"A": "b"})
    layout.keys()
    assert mode_of(layout.state) == 0o700
    keys = (layout.secret_key_file, layout.state / "keys.json")
    for path in (layout.dev_json, layout.dev_env, layout.header("acme"), *keys):
        assert mode_of(path) == 0o600, path


def test_a_file_is_replaced_not_rewritten_even_if_it_was_open_to_others(layout: Layout) -> None:
    layout.dev_env.write_text("old")
    layout.dev_env.chmod(0o644)
    with layout.dev_env.open() as reader:
        write_private(layout.dev_env, b"new")
        assert reader.read() == "old"
    assert layout.dev_env.read_text() == "new"
    assert mode_of(layout.dev_env) == 0o600


def test_every_file_of_a_run_goes_when_the_stack_goes(layout: Layout) -> None:
    dev_file(layout).write(layout)
    write_dev_env(layout, {"A": "b"})
    remove_dev_files(layout)
    remove_dev_files(layout)
    assert [path.name for path in layout.state.iterdir()] == ["log"]


def test_a_tenants_header_file_is_what_curl_takes(layout: Layout) -> None:
    dev_file(layout).write(layout)
    assert layout.header("acme").read_text() == "Authorization: Bearer aaa\n"


def test_keys_are_made_once_and_kept(layout: Layout) -> None:
    first = layout.keys()
    assert layout.keys() == first
    assert layout.secret_key_file.read_text() == first.secret_key
    assert len(first.access_key) == 12


def test_damaged_keys_are_said_so_and_not_replaced(layout: Layout) -> None:
    (layout.state / "keys.json").write_text("{}")
    with pytest.raises(StateUnreadableError, match="make dev-reset"):
        layout.keys()
    assert (layout.state / "keys.json").read_text() == "{}"


def test_a_log_tells_of_one_run_and_the_last_one_is_kept(layout: Layout) -> None:
    layout.log("worker").write_text("first run")
    layout.keep_last_logs()
    layout.log("worker").write_text("second run")
    layout.keep_last_logs()
    assert not layout.log("worker").exists()
    assert layout.log("worker.last").read_text() == "second run"


def test_a_shell_that_sources_dev_env_gets_every_value_whole(layout: Layout) -> None:
    values = {"LOCKGATE_A": "http://127.0.0.1:1/0", "LOCKGATE_B": "a b'c\"$HOME", "LOCKGATE_C": ""}
    write_dev_env(layout, values)
    script = f"set -a; . {layout.dev_env}; exec env -0"
    printed = subprocess.run(["/bin/sh", "-c", script], env={"PATH": os.defpath}, check=True, capture_output=True)
    seen = dict(entry.split("=", 1) for entry in printed.stdout.decode().split("\0") if entry)
    assert {name: seen[name] for name in values} == values


def test_the_variables_of_a_stack_need_no_quotes(layout: Layout) -> None:
    variables = lockgate_variables(Ports.documented(), KEYS, webhook_allow="127.0.0.1:9999,127.0.0.1:9998")
    write_dev_env(layout, variables)
    assert layout.dev_env.read_text().splitlines() == [f"{name}={value}" for name, value in sorted(variables.items())]


def test_every_aws_endpoint_is_one_of_the_stacks() -> None:
    variables = lockgate_variables(Ports.documented(100), KEYS, webhook_allow="")
    endpoints = {name: url for name, url in variables.items() if name.startswith("AWS_ENDPOINT_URL_")}
    assert endpoints == {
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8195",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8195",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:8195",
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": "http://127.0.0.1:8190",
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": "http://127.0.0.1:8191",
    }


def test_the_stacks_own_receiver_is_allowed_and_a_users_come_on_top() -> None:
    own = lockgate_variables(Ports.documented(100), KEYS, webhook_allow="")
    assert own["LOCKGATE_WEBHOOK_ALLOW"] == "127.0.0.1:8193"
    more = lockgate_variables(Ports.documented(), KEYS, webhook_allow="127.0.0.1:9999,127.0.0.1:9998")
    assert more["LOCKGATE_WEBHOOK_ALLOW"] == "127.0.0.1:8093,127.0.0.1:9999,127.0.0.1:9998"


def test_a_child_gets_what_it_needs_and_nothing_of_the_users() -> None:
    assert child_environment({"PATH": "/bin"}, {"LOCKGATE_A": "1"}) == {
        "PATH": "/bin",
        "PYTHONUNBUFFERED": "1",
        "LOCKGATE_A": "1",
    }


def test_one_state_has_one_stack_and_the_second_is_told_of_the_first(layout: Layout) -> None:
    with only_stack(layout), pytest.raises(StackRunningError) as refused, only_stack(layout):
        pass
    assert refused.value.pid == str(os.getpid())
    assert f"kill -INT {os.getpid()}" in str(refused.value)
    assert "LOCKGATE_DEV_STATE" in str(refused.value)


def test_a_state_is_free_again_once_its_stack_is_gone(layout: Layout) -> None:
    with only_stack(layout):
        assert layout.pid_file.read_text() == f"{os.getpid()}\n"
    with only_stack(layout):
        pass
