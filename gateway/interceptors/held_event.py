"""An event of a stream as it came, what is changed in it, and what it waits for."""

from collections.abc import Mapping

from gateway.interceptors.json_text import Token, characters, tokens
from gateway.interceptors.rules import Edit, joined


class HeldEvent:
    """One event; its string values are counted in document order, what a value begins with may be carried into it."""

    __slots__ = ("_read", "_strings", "carried", "edits", "puts", "raw", "size", "texts", "undecided")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        # Characters of text in it, values of it that are not decided yet, and values that are texts.
        self.size = self.undecided = self.texts = 0
        # Most events stay as they are.
        self.puts: dict[int, str] | None = None
        self.edits: dict[int, list[Edit]] | None = None
        self.carried: dict[int, list[str]] | None = None
        self._read: tuple[str, list[Token]] | None = None
        self._strings: list[Token] | None = None

    def document(self) -> tuple[str, list[Token]]:
        """Return the event's text and tokens, read once and only where something changes."""
        if self._read is None:
            document = self.raw.decode(errors="surrogateescape")
            self._read = document, list(tokens(document))
        return self._read

    def written(self, index: int) -> list[str]:
        """Return a value's characters as they are written, what was carried into it first."""
        token, (document, _) = self._values()[index], self.document()
        before = () if self.carried is None else self.carried.get(index, ())
        return [*before, *characters(document[token.start : token.end])]

    def put(self, start: int, text: str) -> None:
        """Put a text in place of the token that begins at `start`."""
        if self.puts is None:
            self.puts = {}
        self.puts[start] = text

    def carry(self, index: int, characters: list[str]) -> None:
        """Put characters, as they are written, before a value."""
        if self.carried is None:
            self.carried = {}
        self.carried[index] = characters

    def edit(self, index: int, edit: Edit) -> None:
        """Change a value; edits of one value come in order."""
        if self.edits is None:
            self.edits = {}
        self.edits.setdefault(index, []).append(edit)

    def render(self) -> bytes:
        """Return the event: the very bytes that came, unless something was changed."""
        edits, carried = self.edits, self.carried
        if self.puts is None and edits is None and carried is None:
            return self.raw
        edits = edits or {}
        changed = edits.keys() | (carried or {}).keys()
        puts = {
            token.start: joined(self.written(index), edits.get(index, ()))
            for index, token in enumerate(self._values())
            if index in changed
        }
        return self._with((self.puts or {}) | puts)

    def again(self, texts: Mapping[int, str], labels: frozenset[str]) -> bytes:
        """Return one more event of the same shape, with these values; labels stay, every other text is empty."""
        puts = {
            token.start: texts.get(index, "")
            for index, token in enumerate(self._values())
            if index in texts or token.path not in labels
        }
        return self._with((self.puts or {}) | puts)

    def _values(self) -> list[Token]:
        """Return the tokens that are string values."""
        if self._strings is None:
            self._strings = [token for token in self.document()[1] if token.kind == "string"]
        return self._strings

    def _with(self, puts: Mapping[int, str]) -> bytes:
        document, found = self.document()
        parts: list[str] = []
        at = 0
        for token in found:
            if token.start in puts:
                parts += (document[at : token.start], puts[token.start])
                at = token.end
        return "".join((*parts, document[at:])).encode(errors="surrogateescape")
