"""Every stored model survives DynamoDB: what is read back equals what was stored."""

import types
from collections.abc import Callable, Iterator
from datetime import UTC, date
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from tenancy import data_models
from tenancy.attributes import encode
from tenancy.data_models import REDACTION_NAME, Key, StoredItem, TenantItem
from tenancy.ids import InvocationId, JobId
from tenancy.tables import TABLES

MODELS = [
    model
    for model in vars(data_models).values()
    if isinstance(model, type) and issubclass(model, StoredItem) and model not in (StoredItem, TenantItem)
]
TOOL_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?"
PATTERNS = {
    r"^\d+\.\d+\.\d+$": r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})",
    f"^{TOOL_NAME}$": TOOL_NAME,
    "^[0-9a-f]{16}$": "[0-9a-f]{16}",
    REDACTION_NAME: r"[a-z][a-z0-9_]{0,39}",
}
# Ids that tell when they were made.
TIMED_ID = "(inv|job)_0[0-9a-hjkmnp-tv-z]{25}"


def bound(metadata: list[Any], kind: type, attribute: str, otherwise: int) -> int:
    values = [getattr(one, attribute) for one in metadata if isinstance(one, kind)]
    return int(values[0]) if values else otherwise


def pattern(metadata: list[Any]) -> str | None:
    found = [one.pattern for one in metadata if getattr(one, "pattern", None)]
    return PATTERNS[found[0]] if found else None


def values(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:  # noqa: ANN401  # any annotation of a model
    """Return what a field of this type may hold."""
    arguments = get_args(kind)
    if not arguments:
        return _plain(kind, metadata)
    composites: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
        Annotated: lambda: values(arguments[0], metadata + list(_constraints(arguments[1:]))),
        Union: lambda: st.one_of(*(values(one, metadata) for one in arguments)),
        types.UnionType: lambda: st.one_of(*(values(one, metadata) for one in arguments)),
        Literal: lambda: st.sampled_from(arguments),
        tuple: lambda: (
            st.lists(values(arguments[0], []), max_size=4).map(tuple)
            if Ellipsis in arguments
            else st.tuples(*(values(one, []) for one in arguments))
        ),
        frozenset: lambda: st.frozensets(
            values(arguments[0], []), min_size=bound(metadata, MinLen, "min_length", 0), max_size=4
        ),
    }
    return composites[get_origin(kind)]()


def _constraints(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for one in metadata:
        yield from one.metadata if isinstance(one, FieldInfo) else [one]


def _plain(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:  # noqa: ANN401  # any type without arguments
    plain: dict[Any, st.SearchStrategy[Any]] = {
        AwareDatetime: st.datetimes(timezones=st.just(UTC)),
        date: st.dates(),
        InvocationId: st.from_regex(TIMED_ID, fullmatch=True),
        JobId: st.from_regex(TIMED_ID, fullmatch=True),
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(bound(metadata, Ge, "ge", -(10**15)), bound(metadata, Le, "le", 10**15)),
    }
    if kind in plain:
        return plain[kind]
    if kind is str or hasattr(kind, "__supertype__"):
        regex = pattern(metadata)
        texts = st.text(
            min_size=bound(metadata, MinLen, "min_length", 0),
            max_size=min(40, bound(metadata, MaxLen, "max_length", 40)),
        )
        return texts if regex is None else st.from_regex(regex, fullmatch=True)
    return st.sampled_from(list(kind)) if issubclass(kind, Enum) else of(kind)


def of(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Return any valid instance of the model."""
    fields = {name: values(field.annotation, list(field.metadata)) for name, field in model.model_fields.items()}
    return st.fixed_dictionaries(fields).map(lambda given: model(**given))


def test_every_table_has_a_model() -> None:
    assert {model.TABLE for model in MODELS} == set(TABLES)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_read_back_is_what_was_stored(model: type[StoredItem], data: st.DataObject) -> None:
    item = data.draw(of(model))
    stored = item.to_item()
    assert model.from_item(stored) == item
    said = {
        name: sorted(value) if isinstance(getattr(item, name), frozenset) else value
        for name, value in item.model_dump(mode="json", exclude_none=True).items()
    }
    assert {name: stored[name] for name in said} == {name: encode(value) for name, value in said.items()}
    assert Key(stored["pk"]["S"], stored["sk"]["S"]) == item.key()
    for index in model.TABLE.indexes:
        # An index entry is whole or not there at all.
        assert (index.partition_key in stored) == (index.sort_key in stored)
    nulls = {name for name, value in stored.items() if "NULL" in value}
    assert nulls <= {name for name, field in model.model_fields.items() if field.is_required()}
    if isinstance(item, TenantItem):
        assert item.key().partition == f"TENANT#{item.tenant_id}"
        assert item.key().sort.startswith(item.SORT_PREFIX)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_an_item_is_changed_as_pydantic_does(model: type[StoredItem], data: st.DataObject) -> None:
    item, other = data.draw(of(model)), data.draw(of(model))
    changes = {name: getattr(other, name) for name in list(model.model_fields)[1::2]}
    changed, theirs = item.changed(changes), item.model_copy(update=changes)
    assert (changed, changed.model_fields_set) == (theirs, theirs.model_fields_set)
    assert changed.model_copy(update=dict(item)) == item
    assert changed.to_item() == theirs.to_item()
    given = {name: getattr(item, name) for name in model.model_fields}
    assert model.made(**given) == item
    required = {name: value for name, value in given.items() if model.model_fields[name].is_required()}
    assert model.made(**required).to_item() == model(**required).to_item()
