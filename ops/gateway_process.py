"""Builds a gateway: what every process stands on, and on it the request path, the routes and the private port."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from prometheus_client import (
    Gauge,
)

from agents.sessions import Sessions
from agents.turns import Turns
from gateway.access import Access
from gateway.apikeys import ApiKeys
from gateway.app import Parts
from gateway.cancel import Cancellations
from gateway.identity import Authenticator
from gateway.invoke import Durations, RequestPath
from gateway.journal import Journal
from gateway.keyset import KeySet
from gateway.live import LiveInvocations
from gateway.middleware import Edge
from gateway.orphans import Orphans
from gateway.processes import Standing
from gateway.record import Report
from gateway.refused import Refused
from gateway.repeats import Repeats
from gateway.replay import Replays
from gateway.submit import Submissions
from gateway.suspensions import Suspensions
from gateway.tokens import TokenRules
from gateway.traffic import Traffic
from ops.admin import admin
from ops.beside import running
from ops.metering import Metering, metering
from ops.orphans import leave, orphans, sure_writer
from ops.private import PrivatePort
from ops.settings import Settings
from ops.streams import Streams, streams
from ops.tools import tool_parts
from ops.wiring import Floor, bounded, floor
from tenancy.admission import Admission
from tenancy.api_keys import KeyUses
from tenancy.changes import ChangeFeed
from tenancy.clock import Clock
from tenancy.days import Days
from tenancy.idempotency import Idempotency
from tenancy.leases import IDLE_S
from tenancy.rates import Rates
from tenancy.registry import TenantRegistry
from tenancy.slots import Slots
from tenancy.store import TenantStores
from tenancy.tool_calls import ToolCalls
from tenancy.trips import RoundTrips


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway, ready to listen."""

    parts: Parts
    live: LiveInvocations
    private: PrivatePort
    standing: Standing
    orphans: Orphans


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[GatewayProcess]:
    """Build a gateway, and close it when left: what is still to be written is written first."""
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(floor(settings))
        clock, changes, stores = base.clock, base.changes, base.stores
        registry = TenantRegistry(stores, changes, clock=clock)
        stack.push_async_callback(registry.aclose)
        keys, authenticator = await _identity(stack, base)
        standing, journal = await _journal(stack, base)
        kept = await stack.enter_async_context(streams(base, journal, lambda: standing.sure))
        turns = Turns(base.trips, clock, base.metrics)
        await stack.enter_async_context(turns.renewing())
        admission = await stack.enter_async_context(_admission(base.trips, clock))
        live = await stack.enter_async_context(_live(registry, changes, clock))
        base.region.regions.on_switch(live.end_region)
        cancellations = _cancellations(stack, base, journal, live)
        meter = await stack.enter_async_context(metering(base, registry))
        path = _path(
            base,
            registry,
            admission,
            meter=meter,
            turns=turns,
            journal=journal,
            live=live,
            kept=kept,
            standing=standing,
        )
        refused = Refused(base.audit, clock)
        await stack.enter_async_context(running(refused.run()))
        access = Access(authenticator, registry, admission, base.audit, refused, clock)
        edge = Edge(clock, settings.cors_origins, Traffic(base.metrics), lambda: live.draining)
        _read_out(base, registry, authenticator, keys, live=live)
        replays = kept.replays(cancellations.find)
        taking = orphans(base, path, replays)
        await stack.enter_async_context(taking.looking())
        repeats = _repeats(stack, stores, replays, clock)
        private = _private(base, keys, live)
        tools = tool_parts(stack, base, access, live)
        parts = Parts(
            access,
            edge,
            path,
            cancellations,
            base.catalog,
            base.jobs,
            base.webhooks.endpoints,
            base.webhooks.deliveries,
            admin(base, registry, tools.registry, path, cancellations, checks=private.found, meter=meter),
            repeats,
            replays,
            clock,
            tools.access,
            tools.door,
            meter.ledger,
            meter.budgets,
        )
        yield GatewayProcess(parts, live, private, standing, taking)


async def _identity(stack: AsyncExitStack, base: Floor) -> tuple[KeySet, Authenticator]:
    """Return the authority's keys and what tells by them, or by API keys, who is calling."""
    settings, clock = base.settings, base.clock
    keys = KeySet(base.http, authority=settings.authority, directory=settings.authority_directory, clock=clock)
    rules = TokenRules(settings.authority, settings.audience)
    uses = KeyUses(base.stores.db, clock)
    await stack.enter_async_context(running(uses.run()))
    api_keys = ApiKeys(base.platform.key_hash, uses, base.changes, clock=clock)
    base.readings.cache("api_keys", api_keys.copies)
    authenticator = Authenticator(keys, rules, base.platform.binding, base.changes, api_keys=api_keys, clock=clock)
    stack.push_async_callback(authenticator.aclose)
    return keys, authenticator


async def _journal(stack: AsyncExitStack, base: Floor) -> tuple[Standing, Journal]:
    """Keep this process's lease, and return it with the journal that writes under it; what is held is written last."""
    standing = Standing(base.platform, base.clock, base.telling)
    await stack.enter_async_context(standing.held())
    journal = Journal(sure_writer(standing, base.stores), base.clock, base.metrics)
    stack.push_async_callback(leave, standing, journal, base.platform, base.clock)
    stack.push_async_callback(bounded, journal.flush)
    return standing, journal


def _cancellations(stack: AsyncExitStack, base: Floor, journal: Journal, live: LiveInvocations) -> Cancellations:
    """Return what stops invocations, wherever they are served."""
    cancellations = Cancellations(
        stores=base.stores,
        journal=journal,
        live=live,
        changes=base.changes,
        catalog=base.catalog,
        stopper=base.runtime,
        clock=base.clock,
    )
    stack.push_async_callback(bounded, cancellations.aclose)
    return cancellations


def _private(base: Floor, keys: KeySet, live: LiveInvocations) -> PrivatePort:
    """Return what the private port answers with."""
    private = base.private(lambda: live.draining)
    # Without any keys it can answer nobody; with keys it has read before, the authority may be away for a day.
    return replace(private, required={**private.required, "identity": keys.ready})


def _read_out(
    base: Floor, registry: TenantRegistry, authenticator: Authenticator, keys: KeySet, *, live: LiveInvocations
) -> None:
    """Have metrics tell what the parts know."""
    Gauge("lockgate_invocations_in_flight", "Invocations being served", registry=base.metrics).set_function(
        lambda: len(live)
    )
    base.readings.cache("tenants", registry.copies)
    base.readings.cache("bindings", authenticator.bindings)
    base.readings.total(
        "lockgate_identity_key_failures", "Renewals of the authority's keys failed", lambda: keys.failures
    )


def _path(
    base: Floor,
    registry: TenantRegistry,
    admission: Admission,
    *,
    meter: Metering,
    turns: Turns,
    journal: Journal,
    live: LiveInvocations,
    kept: Streams,
    standing: Standing,
) -> RequestPath:
    """Return the way of an invocation."""
    settings = base.settings
    return RequestPath(
        catalog=base.catalog,
        tenants=registry,
        admission=admission,
        sessions=Sessions(base.stores, journal, base.clock),
        turns=turns,
        stores=base.stores,
        journal=journal,
        live=live,
        logs=kept.logs,
        detached=kept.detached,
        runtime=base.runtime,
        stopper=base.runtime,
        standing=standing,
        interceptors=base.interceptors,
        submissions=Submissions(
            base.queue, base.stores, admission, None if base.traces is None else base.traces.accepted
        ),
        clock=base.clock,
        durations=Durations(settings.sync_timeout_s, settings.stream_timeout_s, settings.heartbeat_s),
        report=Report(base.metrics, None if base.traces is None else base.traces.invocation),
        meters=meter.meters,
        tool_calls=ToolCalls(base.trips),
    )


@asynccontextmanager
async def _live(registry: TenantRegistry, changes: ChangeFeed, clock: Clock) -> AsyncIterator[LiveInvocations]:
    """Hold what is being served, and end what is served for tenants that are suspended."""
    live = LiveInvocations()
    async with running(Suspensions(registry, live, changes, clock=clock).run()):
        yield live


def _repeats(stack: AsyncExitStack, stores: TenantStores, replays: Replays, clock: Clock) -> Repeats:
    """Return what gives repeated requests their answers again."""
    repeats = Repeats(Idempotency(stores, clock), replays, clock)
    stack.push_async_callback(bounded, repeats.aclose)
    return repeats


@asynccontextmanager
async def _admission(trips: RoundTrips, clock: Clock) -> AsyncIterator[Admission]:
    """Keep the limiters' leases renewed and their idle units given back; give everything back in the end."""
    rates, days = Rates(trips, clock=clock), Days(trips, clock=clock)
    slots = Slots(trips, clock=clock, process=secrets.token_hex(8))

    async def rest() -> None:
        while True:
            await clock.sleep(IDLE_S)
            rates.rest()
            days.rest()

    async with slots.renewing(), running(rest()):
        yield Admission(rates, days, slots)
    rates.rest(now=True)
    days.rest(now=True)
