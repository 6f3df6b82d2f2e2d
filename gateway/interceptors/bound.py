"""Which interceptors stand on an invocation's way: chosen once, from its tenant, its agent version and this process.

What is compiled (a tenant's policy, an agent's schema) is compiled once and shared by all that want the same; only so
many are kept. What cannot be compiled refuses what it was to guard. A tenant as it stands decides, so a change of
policy is in force as soon as the change of the tenant is.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, TypeVar

from gateway.interceptors.chain import INPUT_SCHEMA, REDACT, Chain, guarded
from gateway.interceptors.decisions import Decisions, OnDecision
from gateway.interceptors.errors import PatternRefusedError
from gateway.interceptors.input_schema import InputSchema
from gateway.interceptors.patterns import compile_pattern
from gateway.interceptors.prompt_guard import PhraseGuard, PromptGuard
from gateway.interceptors.redact import Redactor
from gateway.interceptors.rules import Policy, TenantPattern
from tenancy.data_models import AgentVersion, RedactionPattern, Tenant

# Some 2 MB each once they have been used.
POLICIES_KEPT: Final = 64
SCHEMAS_KEPT: Final = 256
K = TypeVar("K")
V = TypeVar("V")


class Interceptors:
    """The interceptors of a process; `guard` judges the prompts of agents that ask for it."""

    def __init__(self, decisions: Decisions, guard: PromptGuard | None = None) -> None:
        self._decisions = decisions
        self._guard = guard or PhraseGuard()
        self._redactors: OrderedDict[Policy, asyncio.Future[Redactor]] = OrderedDict()
        self._schemas: OrderedDict[str, InputSchema] = OrderedDict()

    async def on(self, tenant: Tenant, agent: AgentVersion, subject: str) -> Chain | None:
        """Return what an invocation passes, None where that is nothing; raises InterceptorFailedError.

        `subject` is the invocation's or the job's id, for the lines that tell of decisions.
        """
        schema = agent.input_schema_json
        if tenant.redaction == "off" and schema is None and not agent.prompt_guard:
            return None
        decided = self._decisions.about(tenant.tenant_id, agent.name, subject)
        return Chain(
            decided,
            None if schema is None else guarded(INPUT_SCHEMA, decided, lambda: self._schema(schema)),
            self._guard if agent.prompt_guard else None,
            await self._redactor(tenant, decided),
        )

    async def answers(self, tenant: Tenant, agent: str, subject: str) -> Chain | None:
        """Return what an answer passes alone, None where that is nothing; raises InterceptorFailedError."""
        if tenant.redaction == "off":
            return None
        decided = self._decisions.about(tenant.tenant_id, agent, subject)
        return Chain(decided, redactor=await self._redactor(tenant, decided))

    async def _redactor(self, tenant: Tenant, decided: OnDecision) -> Redactor | None:
        if tenant.redaction == "off":
            return None
        policy = Policy(tenant.redaction, _patterns(tenant.redaction_patterns))
        compiling = self._redactors.get(policy)
        if compiling is None:
            # Patterns may take half a second to compile, in which everything else goes on.
            work = asyncio.to_thread(Redactor, policy)
            compiling = self._redactors[policy] = asyncio.ensure_future(work)
        _keep(self._redactors, policy, POLICIES_KEPT)
        if not compiling.done():
            # Whoever leaves meanwhile does not stop it for the others.
            await asyncio.wait([compiling])
        return guarded(REDACT, decided, compiling.result)

    def _schema(self, schema_json: str) -> InputSchema:
        schema = self._schemas.get(schema_json)
        if schema is None:
            schema = self._schemas[schema_json] = InputSchema(schema_json)
        _keep(self._schemas, schema_json, SCHEMAS_KEPT)
        return schema


async def refused_patterns(patterns: Sequence[RedactionPattern]) -> dict[int, str]:
    """Return which of a tenant's patterns cannot be used, by their places, and why."""
    return await asyncio.to_thread(_refused, _patterns(patterns))


def _refused(patterns: tuple[TenantPattern, ...]) -> dict[int, str]:
    refused = {}
    for at, pattern in enumerate(patterns):
        try:
            compile_pattern(pattern.name, pattern.pattern)
        except PatternRefusedError as error:
            refused[at] = error.reason
    if patterns and not refused:
        try:
            Redactor(Policy("redact", patterns))
        except PatternRefusedError as error:
            refused[len(patterns) - 1] = error.reason
    return refused


def _keep(kept: OrderedDict[K, V], used: K, size: int) -> None:
    kept.move_to_end(used)
    if len(kept) > size:
        kept.popitem(last=False)


def _patterns(patterns: Sequence[RedactionPattern]) -> tuple[TenantPattern, ...]:
    return tuple(TenantPattern(pattern.name, pattern.pattern) for pattern in patterns)
