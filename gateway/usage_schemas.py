"""The wire models of the ledger: sums, lines and how the month stands; and the same as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from gateway.schemas import (
    PAGE_MAX,
    AgentText,
    Count,
    CursorText,
    Timestamp,
    VersionText,
    WireModel,
    shaped,
)
from tenancy.accounts import Standing
from tenancy.data_models import Mode, Status, UsageRecord, UsageSums
from tenancy.ids import moment_of

Group = Literal["day", "agent", "mode"]
GROUPS: Final[tuple[Group, ...]] = ("day", "agent", "mode")
MONTH_PATTERN: Final = "^[0-9]{4}-(?:0[1-9]|1[0-2])$"

DayText = Annotated[
    date, WithJsonSchema({"type": "string", "format": "date", "maxLength": 10, "examples": ["2025-06-01"]})
]
MonthText = Annotated[str, shaped(MONTH_PATTERN, 7, "2025-06")]
RecordText = Annotated[
    str, shaped("^(?:inv|job)_[0-9a-hjkmnp-tv-z]{26}$", 30, "inv_01jd3k5m7p9q1r3s5t7v9w1x3y", "An invocation or a job.")
]


class SumsView(WireModel):
    """What lines of the ledger come to; money in millionths of a US dollar."""

    records: Count = Field(description="How many invocations and jobs.")
    estimated: Count = Field(description="How many of them hold an estimate of their tokens.")
    input_tokens: Count
    output_tokens: Count
    chunks: Count
    answer_bytes: Count
    runtime_ms: Count
    tool_calls: Count
    cost_microusd: Count

    @classmethod
    def of(cls, sums: UsageSums) -> "SumsView":
        """Show sums."""
        return cls.model_validate(sums.model_dump(include=set(UsageSums.model_fields)))


class UsageGroupView(SumsView):
    """The sums of one group; what was not grouped by is absent."""

    day: DayText | None = None
    agent: AgentText | None = None
    mode: Mode | None = None


class MonthView(WireModel):
    """How the current month stands by the count that decides; without a budget there is none."""

    month: MonthText
    budget_microusd: Count | None = None
    spent_microusd: Count | None = Field(default=None, description="What has ended came to.")
    held_microusd: Count | None = Field(default=None, description="What still runs has drawn.")
    left_microusd: Count | None = None

    @classmethod
    def of(cls, month: str, standing: Standing | None) -> "MonthView":
        """Show how a month stands."""
        if standing is None:
            return cls(month=month)
        return cls(
            month=month,
            budget_microusd=standing.budget,
            spent_microusd=standing.spent,
            held_microusd=standing.held,
            left_microusd=standing.left,
        )


class UsageView(WireModel):
    """A tenant's usage; `totals` are of the whole span, whatever page this is."""

    from_day: DayText = Field(alias="from")
    to_day: DayText = Field(alias="to")
    group_by: Annotated[tuple[Group, ...], Field(json_schema_extra={"maxItems": len(GROUPS)})]
    items: Annotated[tuple[UsageGroupView, ...], Field(json_schema_extra={"maxItems": PAGE_MAX})]
    totals: SumsView
    month: MonthView
    next_cursor: CursorText | None = None


class UsageLineView(WireModel):
    """One invocation or job, as it was settled."""

    type: Literal["line"] = "line"
    record_id: RecordText
    day: DayText
    began_at: Timestamp
    agent: AgentText
    agent_version: VersionText
    mode: Mode
    outcome: Status
    input_tokens: Count
    output_tokens: Count
    estimated: bool
    chunks: Count
    answer_bytes: Count
    runtime_ms: Count
    tool_calls: Count
    cost_microusd: Count
    settled_at: Timestamp

    @classmethod
    def of(cls, record: UsageRecord) -> "UsageLineView":
        """Show a line."""
        shown = record.model_dump(exclude={"tenant_id"})
        return cls.model_validate(shown | {"day": record.day, "began_at": moment_of(record.record_id)})


class UsageTotalView(SumsView):
    """What a month's lines come to; always the last line."""

    type: Literal["total"] = "total"
    month: MonthText


class Csv:
    """Rows of wire models under one head."""

    def __init__(self, model: type[WireModel], *, leave_out: Sequence[str] = ()) -> None:
        self._fields = [name for name in model.model_fields if name not in leave_out]

    def head(self) -> bytes:
        """Return the first line."""
        return _csv([[to_camel(name) for name in self._fields]])

    def rows(self, views: Iterable[WireModel]) -> bytes:
        """Return a line for each; what one does not have is empty."""
        dumped = (view.model_dump(mode="json") for view in views)
        return _csv([[_cell(view.get(name)) for name in self._fields] for view in dumped])


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
