"""The import contracts of pyproject.toml: kept by the code, and each able to break."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, files, text_of

LINTER = Path(sys.executable).with_name("lint-imports")
CONFIGURATION = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]
CONTRACTS = [contract["name"] for contract in CONFIGURATION["contracts"]]

# One import that breaks each contract, written into a copy of the packages.
TRESPASSES = {
    "Imports only go down the floors": ("tenancy/trespass.py", "import gateway.app\n"),
    "No cycles, at any depth": ("tenancy/ids.py", "import tenancy.tiers\nimport tenancy.tables\n"),
    "Only the doors, the runtime client and the wiring hold AWS clients": ("jobs/trespass.py", "import aioboto3\n"),
    "Only the ticks' producer, the worker and the wiring know arq": ("gateway/trespass.py", "import arq\n"),
    "Every room of the gateway has its place": ("gateway/trespass.py", ""),
    "Every room of jobs has its place": ("jobs/trespass.py", ""),
    "Every room of webhooks has its place": ("webhooks/trespass.py", ""),
}


def lint(directory: Path) -> dict[str, bool]:
    """Run the linter in `directory`; return whether each contract was kept."""
    done = subprocess.run(
        [LINTER, "--no-cache", "--config", directory / "pyproject.toml"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    kept = re.findall(r"^(.+?) (KEPT|BROKEN)", done.stdout, re.MULTILINE)
    assert [name for name, _ in kept] == CONTRACTS, done.stdout + done.stderr
    return {name: verdict == "KEPT" for name, verdict in kept}


def copy_packages(directory: Path) -> None:
    roots = tuple(f"{package}/" for package in CONFIGURATION["root_packages"])
    for path in files():
        if path == "pyproject.toml" or (path.startswith(roots) and path.endswith(".py")):
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, directory / path)


def test_the_code_keeps_every_contract() -> None:
    assert lint(ROOT) == dict.fromkeys(CONTRACTS, True)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_trespass_breaks_the_contract(contract: str, tmp_path: Path) -> None:
    copy_packages(tmp_path)
    path, trespass = TRESPASSES[contract]
    with (tmp_path / path).open("a") as module:
        module.write(trespass)
    assert lint(tmp_path)[contract] is False


def test_webhooks_and_agents_know_nothing_of_each_other() -> None:
    floors = CONFIGURATION["contracts"][0]["layers"]
    assert floors == ["ops", "gateway", "jobs", "webhooks | agents", "tenancy"]
