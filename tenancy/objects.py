"""The only door to a tenant's objects in S3: TenantScopedS3, handed out per tenant by tenancy.store.TenantStores.

Every key, prefix and copy source is checked here to lie under `tenants/{tenantId}/`, in a form that no server along
the way can read as another key. It suffices alone, as does the guard on the client.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Never
from urllib.parse import unquote

from botocore.exceptions import ClientError

from tenancy import tables
from tenancy.errors import OnViolation, TenantAccessViolation
from tenancy.faults import store_faults
from tenancy.ids import TenantId
from tenancy.scope import TenantScope, active_scope, entered

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import ListObjectsV2RequestTypeDef

_MISSING: Final = frozenset({"NoSuchKey", "404"})
_STEPS: Final = frozenset({".", ".."})
# Within a job's lease. The client's own read timeout does not hold while S3 has not said `100 Continue`.
PUT_LIMIT_S: Final = 20.0


class TenantScopedS3:
    """One tenant's objects, by their full keys.

    Every method raises TenantAccessViolation where a key is not the tenant's, and StoreUnavailableError where a later
    attempt may work.
    """

    def __init__(self, client: "S3Client", tenant_id: TenantId, *, bucket: str, on_violation: OnViolation) -> None:
        self._client = client
        self._scope = TenantScope(tenant_id)
        self._prefix = tables.tenant_prefix(tenant_id)
        self._bucket = bucket
        self._on_violation = on_violation

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """Store an object whole."""
        with self._acting("PutObject", key):
            async with asyncio.timeout(PUT_LIMIT_S):
                await self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    async def get(self, key: str) -> bytes | None:
        """Return an object's bytes, or None."""
        with self._acting("GetObject", key):
            try:
                answer = await self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
            # Entered for its end; read by itself, for what it enters to verifies no checksum.
            async with answer["Body"]:
                return await answer["Body"].read()

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, sorted; the tenant's own prefix lists all it has."""
        if prefix != self._prefix:
            self._check("ListObjectsV2", prefix.removesuffix("/"))
        keys: list[str] = []
        wanted: ListObjectsV2RequestTypeDef = {"Bucket": self._bucket, "Prefix": prefix}
        while True:
            with self._acting("ListObjectsV2"):
                answer = await self._client.list_objects_v2(**wanted)
            keys += [entry["Key"] for entry in answer.get("Contents", [])]
            if not answer["IsTruncated"]:
                return keys
            wanted["ContinuationToken"] = answer["NextContinuationToken"]

    async def copy(self, source: str, target: str) -> None:
        """Copy an object to another of the tenant's keys."""
        with self._acting("CopyObject", source, target):
            await self._client.copy_object(
                Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source}
            )

    async def delete(self, key: str) -> None:
        """Remove an object if it is there."""
        with self._acting("DeleteObject", key):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def presign_get(self, key: str, expires_s: int) -> str:
        """Return a URL by which whoever holds it can read the object for `expires_s` seconds."""
        with self._acting("GetObject", key):
            return await self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=expires_s
            )

    def _check(self, operation: str, key: str) -> None:
        # Also as a server would read it that decodes the key once more.
        for form in (key, unquote(key)):
            if not form.startswith(self._prefix):
                self._refuse(operation, "the key is not under the tenant's prefix")
            segments = form.split("/")
            if "" in segments or not _STEPS.isdisjoint(segments) or not form.isprintable() or "\\" in form:
                self._refuse(operation, "the key has segments or characters that may be read as another key")

    @contextmanager
    def _acting(self, operation: str, *keys: str) -> Iterator[None]:
        for key in keys:
            self._check(operation, key)
        if active_scope() not in (None, self._scope):
            self._refuse(operation, "the task acts in another scope")
        with entered(self._scope), store_faults():
            yield

    def _refuse(self, operation: str, reason: str) -> Never:
        violation = TenantAccessViolation(
            tenant_id=self._scope.tenant_id,
            layer="door",
            operation=operation,
            resource=self._bucket,
            reason=reason,
        )
        self._on_violation(violation)
        raise violation
