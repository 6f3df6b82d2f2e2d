from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from ops.settings import OperatorSettings, Settings
from tests.architecture.tree import ROOT, text_of
from tests.docs.generate import GENERATED, variable, write


@pytest.mark.parametrize("path", GENERATED)
def test_generated_papers_are_current(path: str) -> None:
    assert text_of(path) == GENERATED[path](), "run make docs"


def test_make_docs_writes_every_generated_paper(tmp_path: Path) -> None:
    write(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(GENERATED)


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items(), ids=lambda value: str(value)[:30])
def test_every_setting_is_described_with_its_default(name: str, field: FieldInfo) -> None:
    lines = text_of(".env.example").splitlines()
    (place,) = (
        number
        for number, line in enumerate(lines)
        if line.startswith((f"{variable(name, field)}=", "# "))
        and line.removeprefix("# ").startswith(f"{variable(name, field)}=")
    )
    assert lines[place - 1] == f"# {field.description}"


def test_the_example_read_as_an_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(variable(name, field), raising=False)
    assert Settings(_env_file=ROOT / ".env.example") == Settings()


@pytest.mark.parametrize("field", OperatorSettings.model_fields.values(), ids=lambda field: field.validation_alias)
def test_every_variable_of_the_command_line_is_on_its_page(field: FieldInfo) -> None:
    assert f"| `{field.validation_alias}` |" in text_of("docs/CLI.md")
