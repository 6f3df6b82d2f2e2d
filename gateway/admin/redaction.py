"""Holds a tenant's own redaction patterns to what answers can be judged by, before they are stored.

What is stored can be used: a pattern that cannot would refuse every answer of its tenant.
"""

from collections.abc import Sequence

from gateway.errors import FieldFault, FieldsInvalidError
from gateway.interceptors.bound import refused_patterns
from tenancy.data_models import RedactionPattern


async def require_usable(patterns: Sequence[RedactionPattern]) -> None:
    """Let patterns pass; raises FieldsInvalidError, which names each that cannot be used and says why."""
    names = [pattern.name for pattern in patterns]
    faults = [
        FieldFault(f"/redactionPatterns/{at}/name", "is another pattern's name")
        for at, name in enumerate(names)
        if name in names[:at]
    ]
    refused = await refused_patterns(patterns)
    faults += [FieldFault(f"/redactionPatterns/{at}/pattern", reason) for at, reason in refused.items()]
    if faults:
        raise FieldsInvalidError(faults)
