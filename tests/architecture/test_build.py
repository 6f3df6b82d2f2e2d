"""The interface of the build: make targets, lock files, continuous integration, and what is shipped."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import ROOT, files, text_of

LOCKS = [path for path in files() if re.search(r"(^|/)requirements(/[a-z]+)?\.txt$", path)]
PROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]


def undocumented_targets(makefile: str) -> list[str]:
    """Return the named targets that `make help` would not list."""
    targets = re.findall(r"^([a-z][a-z-]*):(?!=)(.*)$", makefile, re.MULTILINE)
    return [name for name, rest in targets if not re.search(r"## \S", rest)]


def locked(text: str) -> dict[str, str]:
    """Return name -> version of a lock file."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def unhashed(text: str) -> list[str]:
    """Return the requirements of a lock file that carry no hash."""
    joined = text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [line.split()[0] for line in lines if not re.search(r"--hash=sha256:[0-9a-f]{64}", line)]


def wanted(path: str) -> list[Requirement]:
    """Return the requirements of an .in file and of those it includes."""
    requirements = []
    for line in text_of(path).splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("-r "):
            requirements += wanted(str(PurePosixPath(path).parent / text.removeprefix("-r ").strip()))
        elif text:
            requirements.append(Requirement(text))
    return requirements


def unmet(requirements: list[Requirement], pins: dict[str, str]) -> list[str]:
    """Return the requirements that no pin satisfies."""
    return [
        str(requirement)
        for requirement in requirements
        if (version := pins.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(version)
    ]


def test_every_make_target_says_what_it_does() -> None:
    assert undocumented_targets(text_of("Makefile")) == []


def test_a_silent_make_target_is_found() -> None:
    assert undocumented_targets("PYTHON := x\nlint: a ## ruff\ntypes: b\n.venv/x: y\n") == ["types"]


def test_continuous_integration_runs_make_check_and_nothing_else() -> None:
    commands = [line for line in text_of(".ci/run").splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make check"]


def test_the_lock_files_are_those_of_the_environments() -> None:
    environments = {f"requirements/{env}.txt" for env in ("app", "dev", "store", "tools", "uv")}
    agents = {f"agents/{agent}/requirements.txt" for agent in ("echo-agent", "tool-agent")}
    assert set(LOCKS) == environments | agents


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_carries_hashes(lock: str) -> None:
    assert unhashed(text_of(lock)) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_what_its_sources_ask_for(lock: str) -> None:
    assert unmet(wanted(lock.replace(".txt", ".in")), locked(text_of(lock))) == []


def test_the_application_lock_satisfies_the_distribution() -> None:
    assert unmet(list(map(Requirement, PROJECT["dependencies"])), locked(text_of("requirements/app.txt"))) == []


def test_the_test_lock_agrees_with_the_application_lock() -> None:
    application, tests = locked(text_of("requirements/app.txt")), locked(text_of("requirements/dev.txt"))
    assert {name: tests.get(name) for name in application} == application


def test_names_that_clash_with_our_packages_are_never_installed() -> None:
    names = {name for lock in LOCKS for name in locked(text_of(lock))}
    assert names & {"ops", "openai-agents", "agents", "gateway", "jobs", "tenancy", "webhooks"} == set()


def test_a_loose_lock_file_is_found() -> None:
    assert unhashed("# head\narq==0.28.0\n    # via x\nredis==5.3.1 \\\n    --hash=sha256:" + "0" * 64) == [
        "arq==0.28.0"
    ]
    pins = locked("redis[hiredis]==5.3.1 \\\n    --hash=sha256:00\n")
    assert unmet([Requirement("redis==5.3.1"), Requirement("redis<5"), Requirement("arq")], pins) == ["redis<5", "arq"]


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"gateway", "jobs", "webhooks", "agents", "tenancy", "ops"}
    assert [name for name in names if name.startswith(("agents/kit", "agents/echo-agent", "agents/tool-agent"))] == []
    assert {name for name in names if name.endswith(".py")} == {
        path
        for path in files()
        if path.split("/")[0] in tops
        and path.endswith(".py")
        and not path.startswith(("agents/kit", "agents/echo-agent", "agents/tool-agent"))
    }
