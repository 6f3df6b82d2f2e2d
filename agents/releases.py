"""How far an agent version may go from where it is, pure: only what is promoted is given to new conversations.

A version is built, deployed, verified, evaluated and approved before it is promoted. It may fail on the way, and be
disabled at any time, which is for good. Rolled back, it serves the conversations that began with it and no others.
"""

from collections.abc import Mapping
from typing import Final

from agents.errors import ReleaseIllegalError
from tenancy.data_models import ReleaseState

_S = ReleaseState
NEXT: Final[Mapping[ReleaseState, tuple[ReleaseState, ...]]] = {
    _S.BUILT: (_S.DEPLOYED, _S.FAILED, _S.DISABLED),
    _S.DEPLOYED: (_S.VERIFIED, _S.FAILED, _S.DISABLED),
    _S.VERIFIED: (_S.EVALUATED, _S.FAILED, _S.DISABLED),
    _S.EVALUATED: (_S.APPROVED, _S.FAILED, _S.DISABLED),
    _S.APPROVED: (_S.PROMOTED, _S.FAILED, _S.DISABLED),
    _S.PROMOTED: (_S.ROLLED_BACK, _S.DISABLED),
    _S.ROLLED_BACK: (_S.PROMOTED, _S.DISABLED),
    _S.FAILED: (_S.DISABLED,),
    _S.DISABLED: (),
}


def require_legal(before: ReleaseState, after: ReleaseState) -> None:
    """Raise ReleaseIllegalError unless a version may go from one state to the other."""
    if after not in NEXT[before]:
        raise ReleaseIllegalError(before, NEXT[before])
