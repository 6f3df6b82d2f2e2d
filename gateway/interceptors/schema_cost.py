"""What judging an input by a JSON Schema can cost, told from the schema alone, before anything is judged.

A few hundred bytes of references that branch make work that doubles with every one of them, or with every level at
which an input is nested. So the subschemas that may be applied at one place of an input are counted, level by level.
The count is never too low; where alternatives name the same member it may be too high.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote

from gateway.interceptors.errors import SchemaRefusedError

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
# Subschemas applied to the places of an input, at some tens of nanoseconds each.
WORK_MAX: Final = 20_000_000
# At one place of any input; what is more is refused before there is an input.
_AT_ONE_PLACE: Final = 10_000
# So deep inputs may be nested where every level adds work.
_LEVELS: Final = 128

_HERE: Final = ("not", "if", "then", "else")
_ALL_HERE: Final = ("allOf", "anyOf", "oneOf")
_EACH_HERE: Final = ("dependentSchemas", "dependencies")
# What may judge any member or element, also one that a name or a number picks out.
_ANY_CHILD: Final = (
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "additionalItems",
    "unevaluatedItems",
    "contains",
)
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class _Local:
    """What applying a schema at a place comes to: how many subschemas there, and which ones a level below."""

    here: int
    any_child: Counter[int]
    by_name: Mapping[str | int, Counter[int]]

    def paths(self) -> list[list[int]]:
        """Return for each child that a name or a number picks out, and for any other, which schemas judge it."""
        others = list(self.any_child.elements())
        return [others, *([*children.elements(), *others] for children in self.by_name.values())]


class SchemaCost:
    """The cost of a schema; raises SchemaRefusedError where a place is judged too often, or endlessly."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._schemas: dict[int, Json] = {}
        self._anchors: dict[str, Json] = {}
        # None while it is being found out.
        self._locals: dict[int, _Local | None] = {}
        try:
            self._find_anchors(root, root=True)
            self._steps = self._reachable()
            self._levels = self._counted()
        except RecursionError:
            raise SchemaRefusedError from None
        if self._levels[0] > _AT_ONE_PLACE:
            raise SchemaRefusedError

    def at_one_place(self, nesting: int) -> int:
        """Return the most subschemas that may be applied at one place of an input that is nested so deep."""
        return self._levels[min(nesting, len(self._levels) - 1)]

    def too_much(self, length: int, value: Json) -> bool:
        """Tell whether judging an input of `length` bytes may take more work than WORK_MAX."""
        # Every place takes two bytes at least, and so does every level.
        most = length // 2 + 1
        if most * self.at_one_place(most) <= WORK_MAX:
            return False
        places, nesting = _measured(value)
        return places * self.at_one_place(nesting) > WORK_MAX

    def _reachable(self) -> dict[int, tuple[int, list[list[int]]]]:
        """Return what each schema comes to, at its place and a level below."""
        steps: dict[int, tuple[int, list[list[int]]]] = {}
        left = [self._known(self._root)]
        while left:
            schema = left.pop()
            if schema not in steps:
                local = self._local(schema)
                steps[schema] = local.here, local.paths()
                left.extend(child for path in steps[schema][1] for child in path)
        return steps

    def _counted(self) -> list[int]:
        """Return for each nesting the most at one place; the last is that of whatever is nested deeper."""
        levels: list[int] = []
        # Of each schema, what it comes to at a place so many levels below its own.
        at_level = {schema: here for schema, (here, _) in self._steps.items()}
        while len(levels) < _LEVELS:
            levels.append(max(at_level[id(self._root)], levels[-1] if levels else 0))
            deeper = {
                schema: max(sum(at_level[child] for child in path) for path in paths)
                for schema, (_, paths) in self._steps.items()
            }
            if levels[-1] > WORK_MAX or deeper == at_level or not any(deeper.values()):
                return levels
            at_level = deeper
        return [*levels, WORK_MAX + 1]

    def _known(self, schema: Json) -> int:
        self._schemas[id(schema)] = schema
        return id(schema)

    def _local(self, known: int) -> _Local:
        if known not in self._locals:
            self._locals[known] = None
            self._locals[known] = self._expanded(self._schemas[known])
        local = self._locals[known]
        if local is None:
            # It leads back to itself without a step into the input.
            raise SchemaRefusedError
        return local

    def _expanded(self, schema: Json) -> _Local:
        here, any_child, by_name = 1, Counter[int](), dict[str | int, Counter[int]]()
        if not isinstance(schema, Mapping):
            return _Local(here, any_child, by_name)
        for part in self._applied_here(schema):
            local = self._local(self._known(part))
            here += local.here
            any_child += local.any_child
            for name, children in local.by_name.items():
                by_name[name] = by_name.get(name, Counter()) + children
        for name, child in _named(schema):
            by_name[name] = by_name.get(name, Counter()) + Counter([self._known(child)])
        for child in _unnamed(schema):
            any_child[self._known(child)] += 1
        return _Local(here + len(by_name) + any_child.total(), any_child, by_name)

    def _applied_here(self, schema: Mapping[str, Json]) -> Iterator[Json]:
        yield from (schema[word] for word in _HERE if word in schema)
        for word in _ALL_HERE:
            yield from _elements(schema.get(word))
        for word in _EACH_HERE:
            yield from _members(schema.get(word))
        yield from (self._target(schema[word]) for word in _REFERENCES if word in schema)

    def _target(self, reference: Json) -> Json:
        """Return what a reference within the schema points at; raises SchemaRefusedError for any other."""
        document, _, fragment = str(reference).partition("#")
        whole = self._root.get("$id") if isinstance(self._root, Mapping) else None
        if document and document != str(whole).rstrip("#"):
            raise SchemaRefusedError
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            if fragment not in self._anchors:
                raise SchemaRefusedError
            return self._anchors[fragment]
        found: Json = self._root
        for step in fragment.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, Sequence) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise SchemaRefusedError
        return found

    def _find_anchors(self, part: Json, *, root: bool = False) -> None:
        """Remember what is named; a schema with another one's address inside points elsewhere, so it is refused."""
        if isinstance(part, Mapping):
            for word in ("$anchor", "$dynamicAnchor"):
                if isinstance(part.get(word), str):
                    self._anchors[str(part[word])] = part
            if isinstance(part.get("$id"), str) and not root:
                raise SchemaRefusedError
        for child in _members(part) if isinstance(part, Mapping) else _elements(part):
            self._find_anchors(child)


def _named(schema: Mapping[str, Json]) -> Iterator[tuple[str | int, Json]]:
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from properties.items()
    for word in ("prefixItems", "items"):
        yield from enumerate(_elements(schema.get(word)))


def _unnamed(schema: Mapping[str, Json]) -> Iterator[Json]:
    yield from (schema[word] for word in _ANY_CHILD if word in schema)
    yield from _members(schema.get("patternProperties"))
    items = schema.get("items")
    if isinstance(items, Mapping | bool):
        yield items


def _members(part: Json) -> Iterator[Json]:
    if isinstance(part, Mapping):
        yield from part.values()


def _elements(part: Json) -> Iterator[Json]:
    if isinstance(part, Sequence) and not isinstance(part, str):
        yield from part


def _measured(value: Json) -> tuple[int, int]:
    """Return how many places a value has, and how deep it is nested."""
    places, nesting, layer = 1, 0, [value]
    while True:
        layer = [child for part in layer for child in (*_members(part), *_elements(part))]
        if not layer:
            return places, nesting
        places += len(layer)
        nesting += 1
