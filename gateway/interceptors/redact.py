"""Takes personal data out of an agent's answers, or tells that an answer is to be blocked.

In a whole answer every string value and every key is a text of its own. Bytes in which nothing was found come back
as they are. A streamed answer is `redact_stream`'s.
"""

from dataclasses import dataclass

from gateway.interceptors.errors import InterceptorFailedError, RedactionBlockedError
from gateway.interceptors.json_text import JsonUnreadableError, tokens
from gateway.interceptors.redact_stream import StreamRedactor
from gateway.interceptors.rules import NAME, Policy, Rules


@dataclass(frozen=True, slots=True)
class Blocked:
    """The answer holds what is blocked."""

    kind: str


class Redactor:
    """A tenant's policy, compiled once and shared by all its answers; raises PatternRefusedError."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.rules = Rules(policy)

    def stream(self) -> StreamRedactor:
        """Return the redactor of one streamed answer."""
        return StreamRedactor(self.rules)

    def whole(self, json_bytes: bytes) -> bytes | Blocked:
        """Redact a whole answer; raises InterceptorFailedError where it is no JSON."""
        shows_itself = json_bytes.isascii() and b"\\" not in json_bytes and b"\x7f" not in json_bytes
        if shows_itself and not self.rules.scanner.may_match(json_bytes):
            # Each text stands in the document as the patterns see it: no escapes, nothing to be folded.
            return json_bytes
        document = json_bytes.decode(errors="surrogateescape")
        try:
            written = self._written(document)
        except JsonUnreadableError:
            raise InterceptorFailedError(NAME) from None
        except RedactionBlockedError as blocked:
            return Blocked(blocked.kind)
        return json_bytes if written is None else written.encode(errors="surrogateescape")

    def _written(self, document: str) -> str | None:
        parts: list[str] = []
        at = 0
        for token in tokens(document):
            put = self.rules.put(document, token)
            if put is not None:
                parts += (document[at : token.start], put)
                at = token.end
        return "".join([*parts, document[at:]]) if parts else None
