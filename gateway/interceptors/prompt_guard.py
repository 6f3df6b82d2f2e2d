"""Refuses inputs that try to talk an agent out of its instructions; off unless a guard is given.

The guard that comes along knows a small set of phrases. It stops copies of well-known attacks, not a determined
author, and is there to be replaced.
"""

from typing import Final, Protocol

from gateway.interceptors.errors import InterceptorFailedError, PromptRefusedError
from gateway.interceptors.folding import fold
from gateway.interceptors.json_text import JsonUnreadableError, decode, tokens
from gateway.interceptors.patterns import engine

NAME: Final = "prompt_guard"
_PHRASES: Final = (
    (
        "override",
        (
            r"\b(?:ignore|disregard|forget|override)\s+(?:\w+\s+){0,3}(?:previous|prior|above|earlier|system)\s+"
            r"(?:\w+\s+){0,2}(?:instructions?|prompts?|rules|messages?)\b"
        ),
    ),
    ("disclosure", r"\b(?:reveal|print|show|repeat|output)\s+(?:\w+\s+){0,3}(?:system|hidden|initial)\s+prompt\b"),
    ("impersonation", r"<\|?(?:im_start|im_end|system|/?s)\|?>|\[/?(?:INST|SYS)\]"),
    ("jailbreak", r"\b(?:developer|dan|god|jailbreak)\s+mode\s+(?:enabled|on|activated)\b"),
)


class PromptGuard(Protocol):
    """Judges one text of an input."""

    def refuses(self, text: str) -> str | None:
        """Return the name of the rule the text breaks, or None."""
        ...


class PhraseGuard:
    """Knows the phrases of well-known attacks."""

    def __init__(self) -> None:
        self._rules = [(name, engine(f"(?i){pattern}")) for name, pattern in _PHRASES]

    def refuses(self, text: str) -> str | None:
        """Return the name of the first rule the text breaks, or None."""
        folded = fold(text).text
        return next((name for name, rule in self._rules if rule.search(folded) is not None), None)


def guard_prompt(guard: PromptGuard, input_json: bytes) -> None:
    """Show every string and key of an input to the guard; raises PromptRefusedError with the rule."""
    document = input_json.decode(errors="surrogateescape")
    try:
        texts = [decode(document[token.start : token.end]) for token in tokens(document) if token.kind != "number"]
    except JsonUnreadableError:
        raise InterceptorFailedError(NAME) from None
    for text in texts:
        rule = guard.refuses(text)
        if rule is not None:
            raise PromptRefusedError(rule)
