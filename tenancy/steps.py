"""What the items' door takes and gives beside single items: pages, and the steps of one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from boto3.dynamodb.conditions import Attr, ConditionBase
from pydantic import JsonValue

from tenancy import tables
from tenancy.data_models import Key, TenantItem

T_co = TypeVar("T_co", bound=TenantItem, covariant=True)

# Of an item that is to be stored and is not there yet.
NEW: Final = Attr(tables.PARTITION_KEY).not_exists()

Changes: TypeAlias = Mapping[str, JsonValue]
"""Attribute -> new value as JSON; None removes the attribute."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """Part of a list; `after` is the last item's sort key where more may follow."""

    items: tuple[T_co, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class PutStep:
    """Store an item whole."""

    item: TenantItem
    condition: ConditionBase | None = None


@dataclass(frozen=True, slots=True)
class UpdateStep:
    """Change an item that exists; `add` is added to numbers."""

    model: type[TenantItem]
    key: Key
    changes: Changes
    add: Mapping[str, int] | None = None
    condition: ConditionBase | None = None


@dataclass(frozen=True, slots=True)
class DeleteStep:
    """Remove an item."""

    model: type[TenantItem]
    key: Key
    condition: ConditionBase | None = None


@dataclass(frozen=True, slots=True)
class CheckStep:
    """Demand something of an item without changing it."""

    model: type[TenantItem]
    key: Key
    condition: ConditionBase


Step: TypeAlias = PutStep | UpdateStep | DeleteStep | CheckStep
