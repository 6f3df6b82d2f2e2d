"""docs/LIMITS.md gives the numbers that the code holds tenants to."""

import re
from dataclasses import fields

import pytest

from agents import sessions
from gateway import cursors, heads, record, schemas, tokens
from gateway.bodies import PACE
from gateway.connection import Patience
from jobs import records
from ops.settings import Settings
from ops.wiring import ANSWERS
from tenancy.data_models import AgentVersion
from tenancy.errors import LimitError
from tenancy.slots import EXACT_CAP, LEASE_S, SPARE
from tenancy.tiers import LIMITS, Limits, Tier
from tests.docs.papers import Page, pages

PAGE = "docs/LIMITS.md"


def table(page: Page, section: str) -> list[list[str]]:
    """Return the cells of a section's first table, without its head."""
    lines = [line for line in (page.section(section) or "").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def numbers(cell: str) -> list[int]:
    """Return the numbers of a cell, in its order."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", cell)]


def shown(field: str, value: int | None) -> str:
    """Return a tier's limit as its row shows it."""
    if value is None:
        return "unlimited"
    if field != "replay_s":
        return f"{value:,}"
    return f"{value // 3600} h" if value >= 3600 else f"{value // 60} min"


def default(setting: str) -> int:
    return int(Settings.model_fields[setting].default)


def bound(model: type[AgentVersion], field: str) -> int:
    (most,) = (constraint.le for constraint in model.model_fields[field].metadata if hasattr(constraint, "le"))
    return int(most)


SIZES = [
    [AgentVersion.model_fields["body_limit_bytes"].default, bound(AgentVersion, "body_limit_bytes")],
    [heads.TARGET_LIMIT_BYTES],
    [heads.FIELD_LIMIT_BYTES, heads.HEAD_LIMIT_BYTES, heads.FIELDS_LIMIT],
    [tokens.TOKEN_LIMIT_BYTES],
    [schemas.METADATA_LIMIT_BYTES],
    [cursors.LIMIT_MAX],
    [ANSWERS.answer_bytes, ANSWERS.event_bytes],
]
TIMES = [
    [default("sync_timeout_s")],
    [default("stream_timeout_s")],
    [default("job_timeout_s")],
    [default("heartbeat_s")],
    [int(Patience().head_s)],
    [int(PACE.grace_s), PACE.bytes_per_s],
    [int(Patience().idle_s)],
    [int(Patience().stall_s)],
    [default("drain_grace_s")],
]
KEPT = [[record.KEPT.days], [records.KEPT_AFTER_END.days], [int(sessions.KEPT.total_seconds()) // 3600]]


def test_the_tiers_are_the_ones_in_the_code() -> None:
    wanted = [[shown(field.name, getattr(LIMITS[tier], field.name)) for tier in Tier] for field in fields(Limits)]
    assert [row[1:] for row in table(pages()[PAGE], "Tiers")] == wanted


@pytest.mark.parametrize(
    ("section", "wanted"), [("Sizes", SIZES), ("Times", TIMES), ("How long things are kept", KEPT)]
)
def test_every_number_is_the_one_in_the_code(section: str, wanted: list[list[int]]) -> None:
    assert [numbers(row[1]) for row in table(pages()[PAGE], section)] == wanted


def test_every_code_over_a_limit_is_explained() -> None:
    explained = {row[0].strip("`") for row in pages()[PAGE].rows()}
    assert {kind.code for kind in LimitError.__subclasses__()} <= explained


def test_the_slots_are_as_exact_as_told() -> None:
    prose = pages()[PAGE].prose
    assert f"Caps up to {EXACT_CAP} at once are exact" in prose
    assert f"at most {SPARE:.0%}".replace("%", " %") in prose
    assert f"for at most {LEASE_S} s" in prose


def test_a_wrong_number_would_be_found() -> None:
    page = Page(
        PAGE, "## Tiers\n\n| | basic |\n|---|---|\n| requests | 1,000 bytes; 8 |\n\ntext\n## Sizes\n| x | y |\n"
    )
    assert [numbers(row[1]) for row in table(page, "Tiers")] == [[1000, 8]]
