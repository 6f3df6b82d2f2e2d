import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ops.devstack.layout import Layout
from ops.devstack.lock import only_stack
from ops.devstack.ports import Ports


def dev(*arguments: str, state: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli.main", "dev", *arguments],
        env={"PATH": os.defpath, "NO_COLOR": "1", "LOCKGATE_DEV_STATE": str(state), **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


@pytest.mark.parametrize("arguments", [("status",), ("start", "worker"), ("stop", "worker")])
def test_without_a_stack_the_other_verbs_say_how_to_start_one(arguments: tuple[str, ...], layout: Layout) -> None:
    ran = dev(*arguments, state=layout.state)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"lockgate: no stack runs on {layout.state}; `make dev` starts one\n"


def test_reset_forgets_everything(layout: Layout) -> None:
    layout.make()
    layout.keys()
    ran = dev("reset", state=layout.state)
    assert (ran.returncode, ran.stdout) == (0, f"forgot {layout.state}\n")
    assert not layout.state.exists()


def test_reset_of_nothing_is_fine(layout: Layout) -> None:
    assert dev("reset", state=layout.state).returncode == 0


def test_reset_refuses_while_a_stack_runs(layout: Layout) -> None:
    layout.make()
    kept = layout.keys()
    with only_stack(layout):
        ran = dev("reset", state=layout.state)
    assert ran.returncode == 1
    assert f"pid {os.getpid()}" in ran.stderr
    assert layout.keys() == kept


def test_a_second_stack_on_the_same_state_is_refused_with_the_way_out(layout: Layout) -> None:
    layout.make()
    with only_stack(layout):
        ran = dev("up", state=layout.state)
    assert ran.returncode == 1
    assert f"a stack runs on {layout.state} already (pid {os.getpid()})" in ran.stderr
    assert "PORT_OFFSET=100" in ran.stderr


def test_a_taken_port_keeps_a_stack_from_starting_and_is_named(layout: Layout) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        ran = dev("up", state=layout.state, PORT_OFFSET=str(taken - Ports.documented().gateway))
    assert ran.returncode == 1
    assert f"port {taken} (for gateway) is already in use" in ran.stderr
    assert not list((layout.state / "log").iterdir())
