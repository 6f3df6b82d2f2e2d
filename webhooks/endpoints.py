"""A tenant's webhooks: registering, changing and deleting them, and their signing secrets.

A secret that was replaced keeps signing beside the new one for as long as its overlap lasts, so that a receiver is
never without one it knows. Rotating without an overlap ends every older secret at once: it is for one that leaked.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from boto3.dynamodb.conditions import Attr
from pydantic import JsonValue

from tenancy import tables
from tenancy.clock import Clock
from tenancy.data_models import RetiredSecret, WebhookEndpoint
from tenancy.errors import ConditionFailedError, StoreUnavailableError
from tenancy.ids import TenantId, WebhookId, new_webhook_id
from tenancy.steps import NEW, Page
from tenancy.store import TenantStores
from webhooks.errors import EndpointLimitError, EndpointUnknownError
from webhooks.lookup import Destinations
from webhooks.signing import new_secret

ENDPOINT_LIMIT: Final = 20
OVERLAP_DEFAULT: Final = timedelta(days=1)
OVERLAP_LIMIT: Final = timedelta(days=7)
# The newest replaced secrets that keep signing.
_RETIRED_LIMIT: Final = 4
# Times that a rotation begins anew because another one was quicker.
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What to change of a webhook; None leaves a field as it is, an empty description removes it."""

    url: str | None = None
    events: frozenset[str] | None = None
    description: str | None = None
    status: Literal["active", "paused"] | None = None


class Endpoints:
    """The webhooks of any tenant, each reached through that tenant's own door."""

    def __init__(self, stores: TenantStores, destinations: Destinations, *, clock: Clock) -> None:
        self._stores = stores
        self._destinations = destinations
        self._clock = clock

    async def create(
        self, tenant_id: TenantId, *, url: str, events: frozenset[str] = frozenset(), description: str | None = None
    ) -> WebhookEndpoint:
        """Register a webhook for these events, or for all if there are none; its secret is in the answer.

        Raises UrlRefusedError, EndpointLimitError.
        """
        admitted = await self._destinations.admit(url)
        now = self._clock.now()
        endpoint = WebhookEndpoint(
            tenant_id=tenant_id,
            webhook_id=new_webhook_id(now),
            url=admitted,
            description=description or None,
            events=events,
            secret=new_secret(),
            created_at=now,
            updated_at=now,
        )
        if len(await self.all(tenant_id)) >= ENDPOINT_LIMIT:
            raise EndpointLimitError
        await self._stores.db(tenant_id).put(endpoint, condition=NEW)
        if len(await self.all(tenant_id)) > ENDPOINT_LIMIT:
            # Others were registered at the same moment: whoever sees too many takes its own back.
            await self._stores.db(tenant_id).delete(WebhookEndpoint, endpoint.key())
            raise EndpointLimitError
        return endpoint

    async def get(self, tenant_id: TenantId, webhook_id: WebhookId) -> WebhookEndpoint:
        """Return a webhook of this tenant; raises EndpointUnknownError."""
        found = await self.find(tenant_id, webhook_id)
        if found is None:
            raise EndpointUnknownError
        return found

    async def find(self, tenant_id: TenantId, webhook_id: WebhookId) -> WebhookEndpoint | None:
        """Return a webhook of this tenant as it stands now, or None."""
        key = WebhookEndpoint.key_of(tenant_id, webhook_id)
        return await self._stores.db(tenant_id).get(WebhookEndpoint, key, consistent=True)

    async def list(self, tenant_id: TenantId, *, limit: int, after: str | None = None) -> Page[WebhookEndpoint]:
        """Return up to `limit` webhooks, the newest first."""
        return await self._stores.db(tenant_id).query(
            WebhookEndpoint,
            tables.tenant_partition(tenant_id),
            sort_prefix=WebhookEndpoint.SORT_PREFIX,
            limit=limit,
            after=after,
            consistent=True,
        )

    async def all(self, tenant_id: TenantId) -> tuple[WebhookEndpoint, ...]:
        """Return every webhook of the tenant as it stands now."""
        # Room for what is taken back again in `create`.
        return (await self.list(tenant_id, limit=2 * ENDPOINT_LIMIT)).items

    async def update(self, tenant_id: TenantId, webhook_id: WebhookId, change: EndpointChange) -> WebhookEndpoint:
        """Change a webhook and return it; to activate it, or to send it elsewhere, forgets how it failed.

        Raises UrlRefusedError, EndpointUnknownError.
        """
        changes: dict[str, JsonValue] = {"updated_at": _text(self._clock.now())}
        if change.url is not None:
            changes |= {"url": await self._destinations.admit(change.url), "failing_since_at": None}
        if change.events is not None:
            changes["events"] = [*sorted(change.events)]
        if change.description is not None:
            changes["description"] = change.description or None
        if change.status is not None:
            changes |= {"status": change.status, "disabled_reason": None, "failing_since_at": None}
        key = WebhookEndpoint.key_of(tenant_id, webhook_id)
        try:
            return await self._stores.db(tenant_id).update(WebhookEndpoint, key, changes)
        except ConditionFailedError as gone:
            raise EndpointUnknownError from gone

    async def delete(self, tenant_id: TenantId, webhook_id: WebhookId) -> None:
        """Delete a webhook: nothing is sent to it any more; raises EndpointUnknownError."""
        key, there = WebhookEndpoint.key_of(tenant_id, webhook_id), Attr(tables.PARTITION_KEY).exists()
        try:
            await self._stores.db(tenant_id).delete(WebhookEndpoint, key, condition=there)
        except ConditionFailedError as gone:
            raise EndpointUnknownError from gone

    async def rotate(
        self, tenant_id: TenantId, webhook_id: WebhookId, *, overlap: timedelta = OVERLAP_DEFAULT
    ) -> WebhookEndpoint:
        """Replace the secret and return the webhook with its new one; raises EndpointUnknownError."""
        if not timedelta(0) <= overlap <= OVERLAP_LIMIT:
            raise ValueError("an overlap lasts from none to seven days")
        for _ in range(_TRIES):
            endpoint = await self.get(tenant_id, webhook_id)
            try:
                return await self._rotate(endpoint, overlap)
            except ConditionFailedError:
                continue
        raise StoreUnavailableError

    async def _rotate(self, endpoint: WebhookEndpoint, overlap: timedelta) -> WebhookEndpoint:
        now = self._clock.now()
        retired = _retired(endpoint, now, overlap)
        changes: dict[str, JsonValue] = {
            "secret": new_secret(),
            "retired_secrets": [one.model_dump(mode="json") for one in retired],
            "updated_at": _text(now),
        }
        return await self._stores.db(endpoint.tenant_id).update(
            WebhookEndpoint, endpoint.key(), changes, condition=Attr("secret").eq(endpoint.secret)
        )


def signing_secrets(endpoint: WebhookEndpoint, now: datetime) -> tuple[str, ...]:
    """Return every secret that signs now, the newest first."""
    return (endpoint.secret, *(one.secret for one in endpoint.retired_secrets if now < one.until_at))


def _retired(endpoint: WebhookEndpoint, now: datetime, overlap: timedelta) -> tuple[RetiredSecret, ...]:
    if not overlap:
        return ()
    still = tuple(one for one in endpoint.retired_secrets if now < one.until_at)
    return (RetiredSecret(secret=endpoint.secret, until_at=now + overlap), *still)[:_RETIRED_LIMIT]


def _text(moment: datetime) -> str:
    return moment.isoformat()
