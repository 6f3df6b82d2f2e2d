"""All that a tenant has, as one ZIP archive that is written as it is read: nobody holds more of it than a page.

Its items are a file of JSON lines for each table, its objects are files, and `manifest.json`, the last file, says how
many records and bytes each part has and its SHA-256. Secrets are left out, and the manifest says which.
"""

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import orjson
from aiohttp import web
from pydantic import JsonValue

from gateway.admin.paths import REASON, TENANT, tenant_in, tenant_of
from gateway.admin.schemas import ReasonRequest
from gateway.admin.trail import Act, AdminTrail
from gateway.errors import FieldFault, FieldsInvalidError, NotFoundError
from gateway.fields import read
from gateway.operations import Answer, Content, Operation
from tenancy import tables
from tenancy.attributes import decode
from tenancy.chain import moment_text
from tenancy.clock import Clock
from tenancy.context import Principal
from tenancy.data_models import Item
from tenancy.errors import TenantStateError
from tenancy.estate import Estate
from tenancy.ids import TenantId
from tenancy.platform_store import PlatformStore
from tenancy.registry import ERASING, TenantRegistry

ZIP: Final = "application/zip"
MANIFEST: Final = "manifest.json"
# By table: what opens or signs something, which nobody takes away.
SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    tables.WEBHOOKS.name: ("secret", "retired_secrets"),
    tables.API_KEYS.name: ("secrets",),
}
_KEYS: Final = frozenset({tables.PARTITION_KEY, tables.SORT_KEY})
_TAG: Final = "Tenants"
EXPORT: Final = Operation(
    "GET",
    "/v1/admin/tenants/{tenant}/export",
    "exportTenant",
    _TAG,
    "Export all that a tenant has",
    "A ZIP archive: `tables/….ndjson` with its items of each table, `platform/….ndjson` with its applications and "
    "agent versions, `objects/…`, and last `manifest.json` with the records, bytes and SHA-256 of each part and what "
    "was left out: signing secrets of webhooks and the hashes of API keys. It is written as it is read, so what "
    "changes meanwhile may be in it or not. An archive that was cut off cannot be opened.",
    (
        Answer(
            200,
            "The archive.",
            (Content({"zip": "PK…"}, {"type": "string", "format": "binary", "maxLength": 1_000_000_000_000}, ZIP),),
        ),
    ),
    parameters=(TENANT, REASON),
    problems=(
        NotFoundError(),
        TenantStateError(ERASING),
        FieldsInvalidError([FieldFault("/reason", "Field required")]),
    ),
)


class _Sink(io.RawIOBase):
    """Takes what the archive writes until it is sent on."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(memoryview(data))  # type: ignore[arg-type]  # what zipfile writes is bytes
        self._held += piece
        return len(piece)

    def taken(self) -> bytes:
        """Return what is held, and hold it no more."""
        taken, self._held = bytes(self._held), bytearray()
        return taken


@dataclass(slots=True)
class _Part:
    """One file of the archive while it is written."""

    archive: "_Archive"
    file: io.BufferedIOBase
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    records: int = 0
    size_bytes: int = 0

    async def write(self, data: bytes, records: int = 0) -> None:
        """Add to the file, and send on what there is of the archive."""
        self.file.write(data)
        self.sha256.update(data)
        self.records += records
        self.size_bytes += len(data)
        await self.archive.send()


class _Archive:
    """A ZIP archive on its way to whoever asked for it."""

    def __init__(self, response: web.StreamResponse, clock: Clock) -> None:
        self._response = response
        self._at = clock.now()
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)
        self.parts: list[JsonValue] = []

    @asynccontextmanager
    async def part(self, name: str) -> AsyncIterator[_Part]:
        """Write a file inside, and note what it came to."""
        moment = self._at
        info = zipfile.ZipInfo(name, (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second))
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(info, "w", force_zip64=True) as file:
            part = _Part(self, file)  # type: ignore[arg-type]  # what typeshed takes for IO[bytes]
            yield part
        self.parts.append(
            {
                "name": name,
                "records": part.records,
                "bytes": part.size_bytes,
                "sha256": part.sha256.hexdigest(),
            }
        )
        await self.send()

    async def send(self) -> None:
        """Send on what there is."""
        if data := self._sink.taken():
            await self._response.write(data)

    async def close(self) -> None:
        """End the archive."""
        self._zip.close()
        await self.send()


@dataclass(frozen=True, slots=True)
class ExportAdmin:
    """`/v1/admin/tenants/{tenant}/export`."""

    estate: Estate
    registry: TenantRegistry
    platform: PlatformStore
    trail: AdminTrail

    async def get(self, request: web.Request, actor: Principal) -> web.StreamResponse:
        """Answer with the archive."""
        tenant_id, asked = tenant_of(request), read(ReasonRequest, dict(request.query))
        if (await tenant_in(request, self.registry)).erasing_at is not None:
            raise TenantStateError(ERASING)
        name = f'attachment; filename="lockgate-{tenant_id}.zip"'
        headers = {"Cache-Control": "no-store", "Content-Type": ZIP, "Content-Disposition": name}
        response = web.StreamResponse(headers=headers)
        act = Act.of(request, actor, "tenant.export", asked.reason)
        async with self.trail.around(act, tenant_id, target=tenant_id):
            await response.prepare(request)
            await self._write(_Archive(response, self.trail.clock), tenant_id)
            await response.write_eof()
        return response

    async def _write(self, archive: _Archive, tenant_id: TenantId) -> None:
        for table in tables.TENANT_TABLES:
            left_out = SECRETS.get(table.name, ())
            async with archive.part(f"tables/{table.name}.ndjson") as part:
                async for page in self.estate.items(tenant_id, table):
                    index = {key for one in table.indexes for key in (one.partition_key, one.sort_key)}
                    await part.write(_lines(page, {*index, *left_out, *_KEYS}), len(page))
        bindings = await self.platform.bindings_of(tenant_id)
        versions = [*await self.platform.promoted_agents(), *await self.platform.registered_agents()]
        mine = [version for version in versions if version.owner == tenant_id]
        for name, models in (("identity-bindings", bindings), ("agents", mine)):
            async with archive.part(f"platform/{name}.ndjson") as part:
                data = b"".join(model.model_dump_json().encode() + b"\n" for model in models)
                await part.write(data, len(models))
        prefix = tables.tenant_prefix(tenant_id)
        async for held in self.estate.objects(tenant_id):
            for one in held:
                async with archive.part(f"objects/{one.key.removeprefix(prefix)}") as part:
                    async for piece in self.estate.content(tenant_id, one.key):
                        await part.write(piece)
        manifest: JsonValue = {
            "tenant": tenant_id,
            "exportedAt": moment_text(self.trail.clock.now()),
            "parts": [*archive.parts],
            "leftOut": [{"part": f"tables/{table}.ndjson", "fields": [*fields]} for table, fields in SECRETS.items()],
        }
        async with archive.part(MANIFEST) as part:
            await part.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        await archive.close()


def _lines(page: Sequence[Item], left_out: set[str]) -> bytes:
    return b"".join(
        orjson.dumps(
            {name: decode(value) for name, value in item.items() if name not in left_out},
            default=_number,
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for item in page
    )


def _number(value: object) -> int | float | list[str]:
    """Return a number as JSON has it; DynamoDB's are decimals."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, set):
        return sorted(map(str, value))
    raise TypeError(type(value).__name__)
