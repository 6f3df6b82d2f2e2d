"""DynamoDB's condition, key and update expressions, as far as Lockgate writes them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeAlias

Value: TypeAlias = Mapping[str, Any]
Item: TypeAlias = Mapping[str, Value]

_TOKEN: Final = re.compile(r"\s*([#:]\w+|\w+|<>|<=|>=|[=<>(),])")
_CLAUSE: Final = re.compile(r"(SET|REMOVE|ADD) (.*?)(?= SET | REMOVE | ADD |$)")
_PLACEHOLDER: Final = re.compile(r"[#:]\w+")


@dataclass(frozen=True, slots=True)
class Bound:
    """An item, and what an expression's placeholders stand for."""

    item: Item
    names: Mapping[str, str]
    values: Mapping[str, Value]

    def operand(self, token: str) -> Value | None:
        if token.startswith(":"):
            return self.values[token]
        return self.item.get(self.names[token])


Check: TypeAlias = Callable[[Bound], bool]


def placeholders(*expressions: str) -> set[str]:
    """Return the names and values that expressions speak of."""
    return {found for text in expressions for found in _PLACEHOLDER.findall(text)}


@cache
def parsed(expression: str) -> Check:
    """Return what a condition or key expression demands; raises ValueError."""
    parser = _Parser(expression)
    check = parser.any_of()
    parser.end()
    return check


def changed(item: Item, expression: str, names: Mapping[str, str], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the item as an update leaves it."""
    after = dict(item)
    for verb, parts in _CLAUSE.findall(expression):
        for part in parts.split(", "):
            name, *rest = part.replace(" = ", " ").split()
            attribute = names[name]
            if verb == "SET":
                after[attribute] = values[rest[0]]
            elif verb == "ADD":
                before = item.get(attribute, {"N": "0"})
                after[attribute] = {"N": str(Decimal(before["N"]) + Decimal(values[rest[0]]["N"]))}
            else:
                after.pop(attribute, None)
    return after


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def any_of(self) -> Check:
        checks = [self._all_of()]
        while self._take("OR"):
            checks.append(self._all_of())
        return checks[0] if len(checks) == 1 else lambda bound: any(check(bound) for check in checks)

    def end(self) -> None:
        if self._at != len(self._tokens):
            raise ValueError(f"cannot read {self._tokens[self._at :]}")

    def _all_of(self) -> Check:
        checks = [self._one()]
        while self._take("AND"):
            checks.append(self._one())
        return checks[0] if len(checks) == 1 else lambda bound: all(check(bound) for check in checks)

    def _one(self) -> Check:
        if self._take("("):
            inner = self.any_of()
            self._need(")")
            return inner
        if self._take("NOT"):
            denied = self._one()
            return lambda bound: not denied(bound)
        token = self._next()
        if token in _FUNCTIONS:
            return self._function(token)
        return self._comparison(token)

    def _function(self, name: str) -> Check:
        self._need("(")
        subject = self._next()
        prefix = self._next() if self._take(",") else ""
        self._need(")")
        function = _FUNCTIONS[name]
        return lambda bound: function(bound.operand(subject), bound.operand(prefix) if prefix else None)

    def _comparison(self, left: str) -> Check:
        sign = self._next()
        if sign == "IN":
            self._need("(")
            choices = [self._next()]
            while self._take(","):
                choices.append(self._next())
            self._need(")")
            return lambda bound: any(_compare("=", bound.operand(left), bound.operand(one)) for one in choices)
        if sign not in _SIGNS:
            raise ValueError(f"cannot read {sign}")
        right = self._next()
        return lambda bound: _compare(sign, bound.operand(left), bound.operand(right))

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"{token} is missing")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"cannot read {text[at:]}")
        yield found[1]
        at = found.end()


def _compare(sign: str, left: Value | None, right: Value | None) -> bool:
    if left is None or right is None:
        return sign == "<>"
    if left.keys() != right.keys():
        return sign == "<>"
    ((kind, one),) = left.items()
    (other,) = right.values()
    if kind == "N":
        one, other = Decimal(one), Decimal(other)
    return _SIGNS[sign](one, other)


_SIGNS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda one, other: one == other,
    "<>": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}
_FUNCTIONS: Final[Mapping[str, Callable[[Value | None, Value | None], bool]]] = {
    "attribute_exists": lambda found, _: found is not None,
    "attribute_not_exists": lambda found, _: found is None,
    "begins_with": lambda found, prefix: found is not None and found["S"].startswith((prefix or {})["S"]),
}
