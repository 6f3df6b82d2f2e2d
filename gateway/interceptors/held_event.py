"""An event of a stream as it came, what is changed in it, and what it waits for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.interceptors.json_text import Token, characters, tokens
from gateway.interceptors.rules import Edit, joined


@dataclass(slots=True, eq=False)
class HeldEvent:
    """One event; its string values are counted in document order, what a value begins with may be carried into it."""

    raw: bytes
    # Characters of text in it.
    size: int = 0
    # Values that are not decided yet.
    undecided: int = 0
    # More than one text: one that repeats may be a label.
    texts: int = 0
    puts: dict[int, str] = field(default_factory=dict)
    edits: dict[int, list[Edit]] = field(default_factory=dict)
    carried: dict[int, list[str]] = field(default_factory=dict)
    _read: tuple[str, list[Token]] | None = None

    def document(self) -> tuple[str, list[Token]]:
        """Return the event's text and tokens, read once and only where something changes."""
        if self._read is None:
            document = self.raw.decode(errors="surrogateescape")
            self._read = document, list(tokens(document))
        return self._read

    def written(self, index: int) -> list[str]:
        """Return a value's characters as they are written, what was carried into it first."""
        document, found = self.document()
        token = [token for token in found if token.kind == "string"][index]
        return [*self.carried.get(index, ()), *characters(document[token.start : token.end])]

    def edit(self, index: int, edit: Edit) -> None:
        """Change a value; edits of one value come in order."""
        self.edits.setdefault(index, []).append(edit)

    def render(self) -> bytes:
        """Return the event: the very bytes that came, unless something was changed."""
        if not (self.puts or self.edits or self.carried):
            return self.raw
        _, found = self.document()
        strings = [token.start for token in found if token.kind == "string"]
        changed = self.edits.keys() | self.carried.keys()
        puts = {
            start: joined(self.written(index), self.edits.get(index, ()))
            for index, start in enumerate(strings)
            if index in changed
        }
        return self._with(self.puts | puts)

    def again(self, texts: Mapping[int, str], labels: frozenset[str]) -> bytes:
        """Return one more event of the same shape, with these values; labels stay, every other text is empty."""
        _, found = self.document()
        strings = [token for token in found if token.kind == "string"]
        puts = {
            token.start: texts.get(index, "")
            for index, token in enumerate(strings)
            if index in texts or token.path not in labels
        }
        return self._with(self.puts | puts)

    def _with(self, puts: Mapping[int, str]) -> bytes:
        document, found = self.document()
        parts: list[str] = []
        at = 0
        for token in found:
            if token.start in puts:
                parts += (document[at : token.start], puts[token.start])
                at = token.end
        return "".join((*parts, document[at:])).encode(errors="surrogateescape")
