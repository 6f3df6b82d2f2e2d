import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic.alias_generators import to_camel

from gateway.admin.schemas import LimitsRequest
from ops.cli import main as command
from ops.cli.tenant import LIMIT_NAMES

HEAVY = ("aioboto3", "aiohttp", "arq", "redis", "pydantic")


def lockgate(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli.main", *arguments],
        env={"PATH": os.defpath, "NO_COLOR": "1", **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_names_every_noun_and_the_exit_codes() -> None:
    ran = lockgate("--help")
    assert ran.returncode == 0
    for word in ("dev", "serve", "work", "runtime", "130 interrupted"):
        assert word in ran.stdout


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom ops.cli import main\nsys.argv = ['lockgate', '--help']\n"
        "try:\n    main.main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_what_calls_the_admin_api_imports_nothing_of_a_gateway() -> None:
    script = (
        "import sys\nfrom ops.cli import main\n"
        "for noun, module, _ in main._NOUNS:\n"
        "    noun in main._WITHOUT_API or noun == 'top' or main._load(noun, module)\n"
        "print([name for name in ('aiobotocore', 'aiohttp', 'boto3', 'gateway', 'redis') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30)
    assert ran.stdout == "[]\n"


def test_the_limits_a_tenant_can_have_are_the_apis() -> None:
    assert set(LIMIT_NAMES) == {to_camel(name) for name in LimitsRequest.model_fields}


def test_the_version_is_the_distributions() -> None:
    ran = lockgate("--version")
    assert (ran.returncode, ran.stdout) == (0, "lockgate 0.1.0\n")


def test_wrong_usage_is_exit_code_2_and_on_stderr() -> None:
    for arguments in (("nope",), ("serve", "--port", "many"), ("dev", "nope"), ("dev", "start")):
        ran = lockgate(*arguments)
        assert (ran.returncode, ran.stdout) == (2, ""), arguments
        assert ran.stderr


def test_an_impossible_setting_is_exit_code_2_and_named() -> None:
    ran = lockgate("serve", LOCKGATE_LOG_LEVEL="loud")
    assert ran.returncode == 2
    assert ran.stderr.startswith("lockgate: LOCKGATE_LOG_LEVEL: ")
    ran = lockgate("dev", "status", PORT_OFFSET="ten")
    assert ran.returncode == 2
    assert ran.stderr.startswith("lockgate: PORT_OFFSET: ")


def test_a_noun_that_cannot_be_loaded_breaks_only_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken_noun.py").write_text("import no_such_distribution\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as ended:
        command._load("runtime", "broken_noun")
    assert ended.value.code == 1
    assert "`runtime` cannot be loaded: No module named 'no_such_distribution'" in capsys.readouterr().err


def test_no_colour_reaches_what_is_no_terminal() -> None:
    assert "\x1b" not in lockgate("--help").stdout
