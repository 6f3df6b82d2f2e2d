"""Ids and ARNs of AgentCore runtimes: made, recognised and taken apart in one place."""

import re
import secrets
import string
from dataclasses import dataclass
from typing import Self

_ALPHABET = string.ascii_letters + string.digits
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,47}")
RUNTIME_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,99}-[a-zA-Z0-9]{10}")
ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(rf"arn:aws(?:-[a-z-]+)?:bedrock-agentcore:([a-z0-9-]+):([0-9]{{12}}):runtime/({RUNTIME_ID.pattern})")


def new_id(name: str) -> str:
    """Return a fresh id: the name, a hyphen and ten random letters or digits."""
    return f"{name}-{''.join(secrets.choice(_ALPHABET) for _ in range(10))}"


@dataclass(frozen=True, slots=True)
class Place:
    """An account in a region: names are unique within one."""

    account: str
    region: str


@dataclass(frozen=True, slots=True)
class RuntimeArn:
    """One runtime's full name."""

    place: Place
    runtime_id: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of an ARN, or None if `text` is not the ARN of a runtime."""
        found = _ARN.fullmatch(text)
        return cls(Place(found[2], found[1]), found[3]) if found else None

    def __str__(self) -> str:
        return f"arn:aws:bedrock-agentcore:{self.place.region}:{self.place.account}:runtime/{self.runtime_id}"

    def endpoint(self, name: str) -> str:
        """Return the ARN of one of its endpoints."""
        return f"{self}/runtime-endpoint/{name}"

    def workload_identity(self) -> str:
        """Return the ARN of the workload identity AWS makes for every runtime."""
        place = f"{self.place.region}:{self.place.account}"
        directory = "workload-identity-directory/default/workload-identity"
        return f"arn:aws:bedrock-agentcore:{place}:{directory}/{self.runtime_id}"
