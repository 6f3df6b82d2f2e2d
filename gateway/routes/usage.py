"""A tenant's own ledger: what it used and what that cost, by the numbers that budgets are held to."""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, get_args

from aiohttp import web
from pydantic import JsonValue

from gateway.cursors import decode, encode, limit_of
from gateway.errors import FieldFault, FieldsInvalidError
from gateway.operations import CURSOR, LIMIT, Answer, Content, Operation, Parameter
from gateway.routes.answers import json_answer
from gateway.usage_schemas import (
    GROUPS,
    MONTH_PATTERN,
    Csv,
    Group,
    MonthView,
    SumsView,
    UsageGroupView,
    UsageLineView,
    UsageTotalView,
    UsageView,
)
from tenancy.accounts import Standing
from tenancy.budgets import Budgets
from tenancy.clock import Clock
from tenancy.context import TenantContext
from tenancy.data_models import Mode, UsageLine, UsageRecord, UsageSums
from tenancy.ledger import Ledger, added, days_of, last_of
from tenancy.trips import RedisAwayError

# No day follows its last one.
_LAST_YEAR: Final = "9999"
DAYS_MAX: Final = 92
CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
_SUMS: Final = SumsView(
    records=2,
    estimated=1,
    input_tokens=900,
    output_tokens=2100,
    chunks=80,
    answer_bytes=8400,
    runtime_ms=4200,
    tool_calls=0,
    cost_microusd=5270,
)
_GROUP: Final = UsageGroupView(**_SUMS.model_dump(), day=date(2025, 6, 1), agent="echo-agent", mode=Mode.STREAM)
_MONTH: Final = MonthView.of("2025-06", Standing(budget=250_000_000, spent=5270, held=0))
_TOTAL: Final = UsageTotalView(**_SUMS.model_dump(), month="2025-06")
_TEXT: Final[Mapping[str, JsonValue]] = {"type": "string", "format": "text", "maxLength": 1_000_000_000}
_GROUPED: Final = Csv(UsageGroupView)
_LINES: Final = Csv(UsageLineView)
_DAY: Final[Mapping[str, JsonValue]] = {"type": "string", "format": "date", "minLength": 10, "maxLength": 10}

FROM = Parameter("from", "query", "The first day (UTC); the first of this month unless said.", _DAY, "2025-06-01")
TO = Parameter("to", "query", f"The last day, today unless said; at most {DAYS_MAX} days in all.", _DAY, "2025-06-30")
GROUP_BY = Parameter(
    "groupBy",
    "query",
    "What the sums are split by, separated by commas: `day`, `agent`, `mode`; all three unless said.",
    {"type": "string", "pattern": "^(?:day|agent|mode)(?:,(?:day|agent|mode)){0,2}$", "minLength": 3, "maxLength": 14},
    "day,mode",
)
MONTH = Parameter(
    "month", "query", "The month (UTC).", {"type": "string", "pattern": MONTH_PATTERN, "minLength": 7, "maxLength": 7},
    "2025-06", required=True,
)  # fmt: skip
GET: Final = Operation(
    "GET",
    "/v1/usage",
    "getUsage",
    "Usage",
    "Look at what was used and what it cost",
    "Sums of the tenant's ledger by day, agent and mode, and how the current month stands: `month` is the very count "
    "that decides whether an invocation may go on. `Accept: text/csv` gives all groups at once, without `totals` and "
    "`month`. An invocation counts on the day it began, once it has ended.",
    (
        Answer(
            200,
            "The usage.",
            (
                Content(
                    {
                        "usage": UsageView.model_validate(
                            {
                                "from": date(2025, 6, 1),
                                "to": date(2025, 6, 30),
                                "group_by": GROUPS,
                                "items": (_GROUP,),
                                "totals": _SUMS,
                                "month": _MONTH,
                            }
                        )
                    }
                ),
                Content({"csv": (_GROUPED.head() + _GROUPED.rows([_GROUP])).decode()}, _TEXT, CSV),
            ),
        ),
    ),
    parameters=(FROM, TO, GROUP_BY, LIMIT, CURSOR),
    problems=(FieldsInvalidError([FieldFault("from", "must be a day, as 2025-06-01")]),),
)
EXPORT: Final = Operation(
    "GET",
    "/v1/usage/export",
    "exportUsage",
    "Usage",
    "Export a month, line by line",
    "Every line of a month's ledger, then one line with the totals, which are the sums of the lines to the "
    "micro-dollar. CSV, or with `Accept: application/x-ndjson` one JSON object a line. An export without its last "
    "line, `total`, was cut off. A month is final once 48 hours have passed since its end.",
    (
        Answer(
            200,
            "The lines.",
            (
                Content({"csv": _LINES.head().decode()}, _TEXT, CSV),
                Content({"ndjson": _TOTAL.to_json().decode() + "\n"}, _TEXT, NDJSON),
            ),
        ),
    ),
    parameters=(MONTH,),
    problems=(FieldsInvalidError([FieldFault("month", "must be a month, as 2025-06")]),),
)


@dataclass(frozen=True, slots=True)
class UsageRoutes:
    """`/v1/usage`."""

    ledger: Ledger
    budgets: Budgets
    clock: Clock

    async def get(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with sums of the ledger and how the month stands."""
        first, last = self._span(request)
        group_by = _groups_of(request)
        limit, after = limit_of(request), decode(ctx.tenant_id, request.query.get("cursor"), "")
        days = await self.ledger.days(ctx.tenant_id, first, last)
        groups = grouped(days, group_by)
        if _accepts(request, CSV):
            body = _GROUPED.head() + _GROUPED.rows(view for _, view in groups)
            return web.Response(body=body, content_type=CSV, charset="utf-8", headers={"Cache-Control": "no-store"})
        page = [(key, view) for key, view in groups if after is None or key > after][: limit + 1]
        more = len(page) > limit
        view = UsageView.model_validate(
            {
                "from": first,
                "to": last,
                "group_by": group_by,
                "items": tuple(view for _, view in page[:limit]),
                "totals": SumsView.of(added(itertools.chain.from_iterable(days.values()))),
                "month": MonthView.of(self.budgets.month, await standing_of(self.budgets, ctx)),
                "next_cursor": encode(ctx.tenant_id, page[limit - 1][0] if more else None),
            }
        )
        return json_answer(view.to_json())

    async def export(self, request: web.Request, ctx: TenantContext) -> web.StreamResponse:
        """Answer with every line of a month and their totals, as they are read."""
        first = _month_of(request)
        last = min(last_of(first), self.clock.now().date())
        ndjson = _accepts(request, NDJSON)
        kind, suffix = (NDJSON, "ndjson") if ndjson else (f"{CSV}; charset=utf-8", "csv")
        name = f"lockgate-usage-{ctx.tenant_id}-{first:%Y-%m}.{suffix}"
        headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
        response = web.StreamResponse(headers=headers | {"Content-Type": kind})
        total = UsageSums()
        head = b"" if ndjson else _LINES.head()
        for day in days_of(first, last):
            async for records in self.ledger.records(ctx.tenant_id, day):
                total = added([total, *map(_sums, records)])
                if not response.prepared:
                    await response.prepare(request)
                    await response.write(head)
                await response.write(_shown(map(UsageLineView.of, records), ndjson=ndjson))
        if not response.prepared:
            await response.prepare(request)
            await response.write(head)
        shown = UsageTotalView(**SumsView.of(total).model_dump(), month=f"{first:%Y-%m}")
        await response.write(_shown([shown], ndjson=ndjson))
        await response.write_eof()
        return response

    def _span(self, request: web.Request) -> tuple[date, date]:
        today = self.clock.now().date()
        last = _day_of(request, "to") or today
        first = _day_of(request, "from") or min(today, last).replace(day=1)
        if not first <= last < first + timedelta(days=DAYS_MAX):
            raise FieldsInvalidError([FieldFault("to", f"must be from 0 to {DAYS_MAX - 1} days after from")])
        return first, last


async def standing_of(budgets: Budgets, ctx: TenantContext) -> Standing | None:
    """Return how a tenant's month stands; None without a budget, and while Redis cannot tell."""
    try:
        return await budgets.standing(ctx.tenant)
    except RedisAwayError:
        return None


def grouped(days: Mapping[date, Iterable[UsageLine]], group_by: tuple[Group, ...]) -> list[tuple[str, UsageGroupView]]:
    """Return the sums of each group under the text it sorts by."""
    groups: dict[tuple[str, ...], list[UsageLine]] = {}
    for day, lines in days.items():
        for line in lines:
            known = {"day": day.isoformat(), "agent": line.agent, "mode": line.mode.value}
            groups.setdefault(tuple(known[name] for name in group_by), []).append(line)
    return [
        (
            "#".join(key),
            UsageGroupView.model_validate(
                SumsView.of(added(lines)).model_dump() | dict(zip(group_by, key, strict=True))
            ),
        )
        for key, lines in sorted(groups.items(), key=lambda group: "#".join(group[0]))
    ]


def _sums(record: UsageRecord) -> UsageSums:
    shown = record.model_dump(include=set(UsageSums.model_fields) - {"estimated"})
    return UsageSums(records=1, estimated=int(record.estimated), **shown)


def _shown(views: Iterable[UsageLineView | UsageTotalView], *, ndjson: bool) -> bytes:
    return b"".join(view.to_json() + b"\n" for view in views) if ndjson else _LINES.rows(views)


def _groups_of(request: web.Request) -> tuple[Group, ...]:
    text = request.query.get("groupBy")
    if text is None:
        return GROUPS
    named = text.split(",")
    if not set(named) <= set(get_args(Group)) or len(set(named)) != len(named):
        raise FieldsInvalidError([FieldFault("groupBy", "must be some of day, agent, mode, each once")])
    return tuple(name for name in GROUPS if name in named)


def _day_of(request: web.Request, name: str) -> date | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) and not text.startswith(_LAST_YEAR):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise FieldsInvalidError([FieldFault(name, "must be a day, as 2025-06-01")])


def _month_of(request: web.Request) -> date:
    text = request.query.get("month", "")
    if not re.fullmatch(MONTH_PATTERN, text, re.ASCII) or text.startswith(("0000", _LAST_YEAR)):
        raise FieldsInvalidError([FieldFault("month", "must be a month, as 2025-06")])
    return date.fromisoformat(f"{text}-01")


def _accepts(request: web.Request, kind: str) -> bool:
    """Tell whether a media type is asked for by its name."""
    values = request.headers.getall("Accept", ())
    return any(part.partition(";")[0].strip().lower() == kind for value in values for part in value.split(","))
