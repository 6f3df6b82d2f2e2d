"""The wire model of what every refusal carries."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas import CodeText, Count, RequestText, Timestamp, WireModel, prose, shaped
from tenancy.context import Role
from tenancy.data_models import Mode, ReleaseState


class FieldFaultView(WireModel):
    """One field that is wrong: a JSON pointer, or a parameter's name, and what is wrong with it."""

    pointer: Annotated[str, prose(256)]
    detail: Annotated[str, prose(1024)]


class ProblemView(WireModel):
    """A problem document (RFC 9457), as every refusal carries it.

    `gateway.problems` writes it. The members after `errors` go with their codes.
    """

    type: Annotated[str, shaped("^urn:lockgate:problem:[a-z_]+$", 128, "urn:lockgate:problem:not_found")]
    title: Annotated[str, prose(256)]
    status: Annotated[int, Field(json_schema_extra={"format": "int32", "minimum": 400, "maximum": 599})]
    detail: Annotated[str, prose(1024)]
    instance: Annotated[
        str,
        shaped("^urn:lockgate:request:[A-Za-z0-9._:-]+$", 256, "urn:lockgate:request:req_01jd3k5m7p9q1r3s5t7v9w1x3y"),
    ]
    code: CodeText
    request_id: RequestText
    errors: Annotated[tuple[FieldFaultView, ...], Field(json_schema_extra={"maxItems": 100})]
    modes: Annotated[tuple[Mode, ...], Field(json_schema_extra={"maxItems": len(Mode)})] | None = None
    role: Role | None = None
    limit_bytes: Count | None = None
    state: ReleaseState | None = None
    allowed: Annotated[tuple[ReleaseState, ...], Field(json_schema_extra={"maxItems": len(ReleaseState)})] | None = None
    holder: Annotated[str, prose(256)] | None = None
    fence: Count | None = None
    free_in_seconds: Count | None = None
    tenant_status: Literal["active", "suspended", "deleted", "erasing"] | None = None
    erase_after: Timestamp | None = None
