"""DynamoDB in memory: the client's calls that jobs and webhooks make, answered and refused as AWS does.

Each process has a client of its own over the shared items. A `Trouble` stands between the two: it is told of each
call before it is made and once it has been, and may hold it, fail it, or have its answer lost.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, TypedDict, Unpack

from botocore.exceptions import ClientError, ReadTimeoutError

from tenancy import tables
from tests.jobs.memory.expressions import Bound, Item, Value, changed, parsed, placeholders

_HTTP_BAD: Final = 400
_HTTP_FAULT: Final = 500
_LEGS: Final = 100
Place: TypeAlias = tuple[str, str, str]
"""Table, partition, sort key."""
OnWrite: TypeAlias = Callable[[str, Item | None, Item | None], None]
"""Told of each write: table, the item before and after; None where there is none."""


class Call(TypedDict, total=False):
    """A call's parameters."""

    TableName: str
    IndexName: str
    Key: Mapping[str, Value]
    Item: Mapping[str, Value]
    ConsistentRead: bool
    ConditionExpression: str
    UpdateExpression: str
    KeyConditionExpression: str
    ExpressionAttributeNames: Mapping[str, str]
    ExpressionAttributeValues: Mapping[str, Value]
    ExclusiveStartKey: Mapping[str, Value]
    Limit: int
    ScanIndexForward: bool
    ReturnValues: str
    TransactItems: Sequence[Mapping[str, "Call"]]


class AnswerLostError(Exception):
    """Raised by a Trouble after a call: it was done, its answer was lost, and botocore repeats it."""


class Trouble(Protocol):
    """What may come between a process and what it calls."""

    async def before(self, call: str) -> None:
        """Return once the call may be made; raises what it is answered with instead."""
        ...

    async def after(self, call: str) -> None:
        """Return once the answer may be read; raises what the process sees instead."""
        ...


class NoTrouble:
    """Lets others run, and nothing else."""

    async def before(self, call: str) -> None:
        await asyncio.sleep(0)

    async def after(self, call: str) -> None:
        await asyncio.sleep(0)


@dataclass(slots=True)
class Items:
    """What is stored; `watchers` are told of each write as it is done."""

    held: dict[Place, Item] = field(default_factory=dict)
    watchers: list[OnWrite] = field(default_factory=list)

    def write(self, place: Place, after: Item | None) -> None:
        before = self.held.pop(place, None)
        if after is not None:
            self.held[place] = after
        for told in self.watchers:
            told(place[0], before, after)


class MemoryDynamoDB:
    """One process's client."""

    def __init__(self, items: Items, trouble: Trouble | None = None) -> None:
        self._items = items
        self._trouble = trouble or NoTrouble()

    async def get_item(self, **call: Unpack[Call]) -> dict[str, Any]:
        return await self._made("GetItem", lambda: self._get(call))

    async def put_item(self, **call: Unpack[Call]) -> dict[str, Any]:
        return await self._made("PutItem", lambda: self._single("PutItem", {"Put": call}))

    async def update_item(self, **call: Unpack[Call]) -> dict[str, Any]:
        return await self._made("UpdateItem", lambda: self._single("UpdateItem", {"Update": call}))

    async def delete_item(self, **call: Unpack[Call]) -> dict[str, Any]:
        return await self._made("DeleteItem", lambda: self._single("DeleteItem", {"Delete": call}))

    async def query(self, **call: Unpack[Call]) -> dict[str, Any]:
        return await self._made("Query", lambda: self._query(call))

    async def transact_write_items(self, **call: Unpack[Call]) -> dict[str, Any]:
        return await self._made(_TRANSACTION, lambda: self._transact(call["TransactItems"]))

    async def _made(self, operation: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        await self._trouble.before(operation)
        answer = _answer_to(act)
        try:
            await self._trouble.after(operation)
        except AnswerLostError:
            # Botocore asks again by itself; a transaction that was done carries a token by which AWS knows it.
            if operation != _TRANSACTION or isinstance(answer, ClientError):
                answer = _repeated(_answer_to(act))
        if isinstance(answer, ClientError):
            raise answer
        return answer

    def _get(self, call: Call) -> dict[str, Any]:
        found = self._items.held.get(_place(call["TableName"], call["Key"]))
        return {} if found is None else {"Item": found}

    def _transact(self, legs: Sequence[Mapping[str, Call]]) -> dict[str, Any]:
        places = [_place_of(leg) for leg in legs]
        if len(set(places)) < len(places) or not 0 < len(places) <= _LEGS:
            raise refusal(_TRANSACTION, "ValidationException")
        afters = [self._after(_TRANSACTION, leg) for leg in legs]
        if any(after is _REFUSED for after in afters):
            reasons = ["ConditionalCheckFailed" if after is _REFUSED else "None" for after in afters]
            raise refusal(_TRANSACTION, "TransactionCanceledException", reasons)
        for leg, place, after in zip(legs, places, afters, strict=True):
            if "ConditionCheck" not in leg:
                self._items.write(place, after)
        return {}

    def _single(self, operation: str, leg: Mapping[str, Call]) -> dict[str, Any]:
        after = self._after(operation, leg)
        if after is _REFUSED:
            raise refusal(operation, "ConditionalCheckFailedException")
        self._items.write(_place_of(leg), after)
        return {"Attributes": after} if "Update" in leg else {}

    def _after(self, operation: str, leg: Mapping[str, Call]) -> Item | None:
        """Return how a leg leaves its item, or _REFUSED."""
        ((verb, call),) = leg.items()
        names, values = call.get("ExpressionAttributeNames", {}), call.get("ExpressionAttributeValues", {})
        condition, update = call.get("ConditionExpression", ""), call.get("UpdateExpression", "")
        if placeholders(condition, update) != names.keys() | values.keys():
            raise refusal(operation, "ValidationException")
        found = self._items.held.get(_place_of(leg))
        if condition and not parsed(condition)(Bound(found or {}, names, values)):
            return _REFUSED
        if verb == "Put":
            return dict(call["Item"])
        if verb == "Update":
            return changed(found or call["Key"], update, names, values)
        return found if verb == "ConditionCheck" else None

    def _query(self, call: Call) -> dict[str, Any]:
        index = call.get("IndexName")
        keys = (tables.PARTITION_KEY, tables.SORT_KEY)
        if index is not None:
            keys = next((each.partition_key, each.sort_key) for each in _INDEXES if each.name == index)
        wanted, names = parsed(call["KeyConditionExpression"]), call["ExpressionAttributeNames"]
        values = call["ExpressionAttributeValues"]
        found = [
            item
            for (table, _, _), item in self._items.held.items()
            if table == call["TableName"] and item.keys() >= {*keys} and wanted(Bound(item, names, values))
        ]
        forward = call.get("ScanIndexForward", True)

        def rank(item: Item) -> tuple[str, str, str]:
            return item[keys[1]]["S"], item[tables.PARTITION_KEY]["S"], item[tables.SORT_KEY]["S"]

        found.sort(key=rank, reverse=not forward)
        if "ExclusiveStartKey" in call:
            start = rank(call["ExclusiveStartKey"])
            found = [item for item in found if (rank(item) > start if forward else rank(item) < start)]
        limit = call.get("Limit", len(found) + 1)
        page: dict[str, Any] = {"Items": found[:limit]}
        if len(found) >= limit:
            last = found[limit - 1]
            page["LastEvaluatedKey"] = {
                name: last[name] for name in {tables.PARTITION_KEY, tables.SORT_KEY, *keys} if name in last
            }
        return page


_TRANSACTION: Final = "TransactWriteItems"
_REFUSED: Final[Item] = {}
_INDEXES: Final = (tables.SWEEP_INDEX, tables.DEAD_LETTER_INDEX)


def refusal(operation: str, code: str, reasons: Sequence[str] = ()) -> ClientError:
    """Return AWS's error."""
    status = _HTTP_FAULT if code == "InternalServerError" else _HTTP_BAD
    response: dict[str, Any] = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": 0},
    }
    if reasons:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, operation)  # type: ignore[arg-type]


def conflict(operation: str) -> ClientError:
    """Return what AWS answers while another transaction writes an item."""
    if operation == _TRANSACTION:
        return refusal(operation, "TransactionCanceledException", ["TransactionConflict"])
    return refusal(operation, "TransactionConflictException")


def timeout() -> ReadTimeoutError:
    """Return what botocore raises once it has waited long enough."""
    return ReadTimeoutError(endpoint_url="memory")


def _answer_to(act: Callable[[], dict[str, Any]]) -> dict[str, Any] | ClientError:
    try:
        return act()
    except ClientError as refused:
        return refused


def _repeated(answer: dict[str, Any] | ClientError) -> dict[str, Any] | ClientError:
    """Return the answer marked as one to a repeat."""
    if isinstance(answer, ClientError):
        answer.response["ResponseMetadata"]["RetryAttempts"] = 1
    return answer


def _place(table: str, key: Mapping[str, Value]) -> Place:
    return table, key[tables.PARTITION_KEY]["S"], key[tables.SORT_KEY]["S"]


def _place_of(leg: Mapping[str, Call]) -> Place:
    ((verb, call),) = leg.items()
    return _place(call["TableName"], call["Item"] if verb == "Put" else call["Key"])
