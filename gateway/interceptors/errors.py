"""What an interceptor refuses, and that one failed; no sentence here repeats what it judged."""

from tenancy.errors import LockgateError


class RedactionBlockedError(LockgateError):
    """The answer holds what the tenant's policy blocks; `kind` names it, nothing shows it."""

    code = "redaction_blocked"

    def __init__(self, kind: str) -> None:
        super().__init__(f"blocked: {kind}")
        self.kind = kind


class PatternRefusedError(LockgateError, ValueError):
    """A tenant's own pattern cannot be used; `name` is the pattern's, `reason` a fixed sentence."""

    code = "pattern_refused"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"pattern {name}: {reason}")
        self.name = name
        self.reason = reason


class SchemaRefusedError(LockgateError, ValueError):
    """An agent version's input schema is no JSON Schema, or refers to something outside itself."""

    code = "schema_refused"


class PromptRefusedError(LockgateError):
    """The prompt guard refused the input; `rule` names what it saw."""

    code = "prompt_refused"

    def __init__(self, rule: str) -> None:
        super().__init__(f"refused: {rule}")
        self.rule = rule


class InterceptorFailedError(LockgateError):
    """An interceptor broke; what it guards is refused rather than let through unguarded."""

    code = "interceptor_failed"

    def __init__(self, interceptor: str) -> None:
        super().__init__(f"interceptor {interceptor} failed")
        self.interceptor = interceptor
