"""The guard's reading of DynamoDB calls: which table, whose key, which attributes; what it cannot read it refuses.

Accepted are the parameters and the two expression forms that the doors use, nothing that DynamoDB also understands:
legacy conditions, other key conditions, table ARNs, functions in updates. That keeps the reading exact.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, Never, TypeAlias

from tenancy.reach import CallRefusedError, Reach, TenantReach, telling
from tenancy.tables import PARTITION_KEY, SORT_KEY, TABLES, Index, Table

Params: TypeAlias = Mapping[str, object]

_EXPRESSIONS: Final = frozenset({"ExpressionAttributeNames", "ExpressionAttributeValues"})
_CONDITION: Final = _EXPRESSIONS | {"ConditionExpression"}
_LEG: Final = _CONDITION | {"TableName"}
_ALLOWED: Final = {
    "GetItem": frozenset({"TableName", "Key", "ConsistentRead"}),
    "PutItem": _LEG | {"Item"},
    "UpdateItem": _LEG | {"Key", "UpdateExpression", "ReturnValues"},
    "DeleteItem": _LEG | {"Key"},
    "ConditionCheck": _LEG | {"Key"},
    "Query": _EXPRESSIONS
    | {
        "TableName",
        "IndexName",
        "KeyConditionExpression",
        "FilterExpression",
        "ExclusiveStartKey",
        "Limit",
        "ScanIndexForward",
        "ConsistentRead",
        "Select",
    },
    "Scan": _EXPRESSIONS
    | {
        "TableName",
        "IndexName",
        "ProjectionExpression",
        "FilterExpression",
        "ExclusiveStartKey",
        "Limit",
        "ConsistentRead",
    },
    "BatchWriteItem": frozenset({"RequestItems"}),
    "TransactWriteItems": frozenset({"TransactItems", "ClientRequestToken"}),
}
_KEY_CONDITION: Final = re.compile(r"(#\w+) = (:\w+)(?: AND begins_with\(#\w+, :\w+\))?", re.ASCII)
_SET: Final = r"#\w+ = :\w+"
_ADD: Final = r"#\w+ :\w+"
_UPDATE: Final = re.compile(
    rf"(?:SET (?P<set>{_SET}(?:, {_SET})*))?"
    r"(?:(?:^| )REMOVE (?P<remove>#\w+(?:, #\w+)*))?"
    rf"(?:(?:^| )ADD (?P<add>{_ADD}(?:, {_ADD})*))?",
    re.ASCII,
)


class ItemGuard:
    """Reads DynamoDB calls on the tables of one deployment."""

    def __init__(self, table_prefix: str) -> None:
        self._tables = {table_prefix + table.name: table for table in TABLES}
        self._readers: Mapping[str, Callable[[Reach, Params], None]] = {
            "GetItem": self._keyed,
            "PutItem": self._put,
            "UpdateItem": self._update,
            "DeleteItem": self._keyed,
            "ConditionCheck": self._keyed,
            "Query": self._query,
            "Scan": self._scan,
            "BatchWriteItem": self._batch,
            "TransactWriteItems": self._transaction,
        }

    def check(self, reach: Reach, operation: str, params: Params) -> None:
        """Raise CallRefusedError unless `reach` covers the call."""
        if not reach.operates(operation):
            _refuse("the scope does not cover this operation", _named(params))
        self._check(reach, operation, params)

    def _check(self, reach: Reach, operation: str, params: Params) -> None:
        if not params.keys() <= _ALLOWED[operation]:
            _refuse("the call has a parameter that is not allowed", _named(params))
        self._readers[operation](reach, params)

    def _table(self, reach: Reach, name: object) -> Table:
        table = self._tables.get(_text(name))
        if table is None or not reach.holds_table(table):
            _refuse("the scope does not cover this table", _text(name))
        return table

    def _keyed(self, reach: Reach, params: Params) -> None:
        self._table(reach, params.get("TableName"))
        _hold_key(reach, params.get("Key"), _named(params))

    def _put(self, reach: Reach, params: Params) -> None:
        self._hold_item(reach, self._table(reach, params.get("TableName")), params.get("Item"))

    def _hold_item(self, reach: Reach, table: Table, item: object) -> None:
        attributes = _mapping(item)
        if set(map(type, attributes)) != {str}:
            # Exactly texts: a subclass could claim to equal what it is not.
            _refuse("the call cannot be read", table.name)
        _hold_key(reach, {name: attributes.get(name) for name in (PARTITION_KEY, SORT_KEY)}, table.name)
        if isinstance(reach, TenantReach) and "tenant_id" not in attributes:
            _refuse("the item does not say whose it is", table.name)
        for name in attributes.keys() & telling(table):
            _carry(reach, table, name, attributes[name])

    def _update(self, reach: Reach, params: Params) -> None:
        self._keyed(reach, params)
        table = self._table(reach, params.get("TableName"))
        names = _mapping(params.get("ExpressionAttributeNames"))
        values = _mapping(params.get("ExpressionAttributeValues", {}))
        update = _UPDATE.fullmatch(_text(params.get("UpdateExpression")))
        if update is None:
            _refuse("the update is not in the form the doors use", table.name)
        for clause in update.groups(default=""):
            for placeholder in re.findall(r"#\w+", clause, re.ASCII):
                if _text(names.get(placeholder)) in (PARTITION_KEY, SORT_KEY, "tenant_id"):
                    _refuse("an update may not say whose item it is", table.name)
        for placeholder, value in re.findall(r"(#\w+) = (:\w+)", update["set"] or "", re.ASCII):
            _carry(reach, table, _text(names.get(placeholder)), values.get(value))

    def _query(self, reach: Reach, params: Params) -> None:
        table = self._table(reach, params.get("TableName"))
        index = _index(table, params.get("IndexName"))
        condition = _KEY_CONDITION.fullmatch(_text(params.get("KeyConditionExpression")))
        if condition is None:
            _refuse("the key condition is not in the form the doors use", table.name)
        name = _mapping(params.get("ExpressionAttributeNames")).get(condition[1])
        value = _string(_mapping(params.get("ExpressionAttributeValues")).get(condition[2]))
        if _text(name) != (index.partition_key if index else PARTITION_KEY):
            _refuse("the key condition names another attribute", table.name)
        if not (reach.holds_index_key(index, value) if index else reach.holds_key(value)):
            _refuse("the key is not the scope's", table.name)
        if "ExclusiveStartKey" in params:
            start = params["ExclusiveStartKey"]
            if index is None:
                _hold_key(reach, start, table.name)
            elif _string(_mapping(start).get(index.partition_key)) != value:
                _refuse("the start lies in another partition", table.name)

    def _scan(self, reach: Reach, params: Params) -> None:
        table = self._table(reach, params.get("TableName"))
        _index(table, params.get("IndexName"))
        names = _mapping(params.get("ExpressionAttributeNames"))
        shown = [names.get(name) for name in _text(params.get("ProjectionExpression")).split(", ")]
        if shown != [PARTITION_KEY, SORT_KEY]:
            _refuse("a scan sees keys alone", table.name)

    def _batch(self, reach: Reach, params: Params) -> None:
        for name, requests in _mapping(params.get("RequestItems")).items():
            table = self._table(reach, name)
            for request in _sequence(requests):
                match _only(request):
                    case "PutRequest", body:
                        self._hold_item(reach, table, _mapping(body).get("Item"))
                    case "DeleteRequest", body:
                        _hold_key(reach, _mapping(body).get("Key"), table.name)
                    case _:
                        _refuse("the batch has a request of another kind", table.name)

    def _transaction(self, reach: Reach, params: Params) -> None:
        kinds = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheck"}
        for leg in _sequence(params.get("TransactItems")):
            kind, body = _only(leg)
            if kind not in kinds:
                _refuse("the transaction has a leg of another kind", "transaction")
            self._check(reach, kinds[kind], _mapping(body))


def _hold_key(reach: Reach, key: object, resource: str) -> None:
    attributes = _mapping(key)
    if attributes.keys() != {PARTITION_KEY, SORT_KEY}:
        _refuse("the key is not a whole primary key", resource)
    _string(attributes[SORT_KEY])
    if not reach.holds_key(_string(attributes[PARTITION_KEY])):
        _refuse("the key is not the scope's", resource)


def _carry(reach: Reach, table: Table, attribute: str, value: object) -> None:
    match value:
        case {"S": str(text)} if type(text) is str:
            carried: str | None = text
        case _:
            carried = None
    if isinstance(reach, TenantReach) and not reach.may_carry(table, attribute, carried):
        _refuse("the item would stand in another tenant's name", table.name)


def _index(table: Table, name: object) -> Index | None:
    if name is None:
        return None
    for index in table.indexes:
        if index.name == name:
            return index
    return _refuse("the table has no such index", table.name)


def _named(params: Params) -> str:
    name = params.get("TableName")
    return name if type(name) is str else "dynamodb"


def _text(value: object) -> str:
    # Exactly a text: a subclass could claim to equal what it is not.
    if type(value) is not str:
        _refuse("the call cannot be read", "dynamodb")
    return value


def _string(value: object) -> str:
    kind, text = _only(value)
    if kind != "S":
        _refuse("a key is not a string", "dynamodb")
    return _text(text)


def _mapping(value: object) -> Mapping[str, object]:
    if type(value) is not dict:
        _refuse("the call cannot be read", "dynamodb")
    return value


def _sequence(value: object) -> list[object]:
    if type(value) is not list:
        _refuse("the call cannot be read", "dynamodb")
    return value


def _only(value: object) -> tuple[str, object]:
    """Return the one entry of a mapping."""
    entries = [*_mapping(value).items()]
    if len(entries) != 1:
        _refuse("the call cannot be read", "dynamodb")
    return entries[0]


def _refuse(reason: str, resource: str) -> Never:
    raise CallRefusedError(reason, resource)
