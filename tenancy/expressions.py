"""Conditions and changes as DynamoDB's expression parameters, pure.

Every name and value goes through a placeholder and every update reads `SET … REMOVE … ADD …`: the guard on the
client accepts this form and no other, so that it can tell which attribute gets which value.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypedDict

from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder

from tenancy import tables
from tenancy.attributes import encode
from tenancy.steps import Changes

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef


class Clauses(TypedDict, total=False):
    """Expression parameters; what is not needed is left out, as DynamoDB demands."""

    ConditionExpression: str
    ExpressionAttributeNames: dict[str, str]
    ExpressionAttributeValues: "dict[str, AttributeValueTypeDef]"
    # Part of DynamoDB's type; never set: a failed condition tells nothing of the item.
    ReturnValuesOnConditionCheckFailure: Literal["NONE"]


class UpdateClauses(Clauses):
    """Expression parameters of an update."""

    UpdateExpression: str


def conditioned(condition: ConditionBase | None) -> Clauses:
    """Return the parameters of a condition, if there is one."""
    clauses = Clauses()
    if condition is not None:
        built = ConditionExpressionBuilder().build_expression(condition)
        clauses["ConditionExpression"] = built.condition_expression
        clauses["ExpressionAttributeNames"] = dict(built.attribute_name_placeholders)
        values = {name: encode(value) for name, value in built.attribute_value_placeholders.items()}
        if values:
            clauses["ExpressionAttributeValues"] = values
    return clauses


def changing(changes: Changes, add: Mapping[str, int] | None, condition: ConditionBase | None) -> UpdateClauses:
    """Return the parameters of an update of an item that must exist: an update never makes one."""
    exists = Attr(tables.PARTITION_KEY).exists()
    clauses = conditioned(exists if condition is None else exists & condition)
    names, values = dict(clauses["ExpressionAttributeNames"]), dict(clauses.get("ExpressionAttributeValues", {}))
    parts: dict[str, list[str]] = {"SET": [], "REMOVE": [], "ADD": []}
    for number, (attribute, value) in enumerate([*changes.items(), *(add or {}).items()]):
        name, placeholder = f"#u{number}", f":u{number}"
        names[name] = attribute
        if value is None:
            parts["REMOVE"].append(name)
            continue
        values[placeholder] = encode(value)
        if number < len(changes):
            parts["SET"].append(f"{name} = {placeholder}")
        else:
            parts["ADD"].append(f"{name} {placeholder}")
    text = " ".join(f"{verb} {', '.join(part)}" for verb, part in parts.items() if part)
    update = UpdateClauses(UpdateExpression=text, ExpressionAttributeNames=names)
    update["ConditionExpression"] = clauses["ConditionExpression"]
    if values:
        update["ExpressionAttributeValues"] = values
    return update
