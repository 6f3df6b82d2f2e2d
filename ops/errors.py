"""Why a process cannot serve; each is said on stderr and ends it with exit code 1."""


class CannotServeError(Exception):
    """Root of them; the message says what to do."""


class PortTakenError(CannotServeError):
    """Another program has the port."""


class CrashLoopError(CannotServeError):
    """A worker ends again and again soon after its start."""
