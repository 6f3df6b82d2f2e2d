"""The guard's reading of S3 calls: which bucket, whose keys and prefixes; what it cannot read it refuses.

A tenant reaches keys under `tenants/{id}/` of the deployment's bucket; no platform verb reaches S3. Parameters that
would publish an object, send it elsewhere or bring a key of its own to encrypt it are not allowed.
"""

import re
from collections.abc import Mapping
from typing import Final, Never, TypeAlias
from urllib.parse import unquote

from tenancy.ids import TenantId
from tenancy.reach import CallRefusedError

Params: TypeAlias = Mapping[str, object]

_KEYED: Final = frozenset({"Bucket", "Key"})
_WRITE: Final = _KEYED | {"ContentType", "Metadata", "ChecksumAlgorithm"}
_UPLOAD: Final = _KEYED | {"UploadId"}
_ALLOWED: Final = {
    "GetObject": _KEYED | {"Range", "VersionId", "ChecksumMode"},
    "HeadObject": _KEYED | {"VersionId", "ChecksumMode"},
    "PutObject": _WRITE | {"Body", "ContentLength", "ContentMD5"},
    "CopyObject": _WRITE | {"CopySource", "MetadataDirective"},
    "DeleteObject": _KEYED | {"VersionId"},
    "DeleteObjects": frozenset({"Bucket", "Delete", "ChecksumAlgorithm"}),
    "ListObjectsV2": frozenset(
        {"Bucket", "Prefix", "Delimiter", "MaxKeys", "ContinuationToken", "StartAfter", "EncodingType"}
    ),
    "CreateMultipartUpload": _WRITE | {"ChecksumType"},
    "UploadPart": _UPLOAD | {"PartNumber", "Body", "ContentLength", "ContentMD5", "ChecksumAlgorithm"},
    "UploadPartCopy": _UPLOAD | {"PartNumber", "CopySource", "CopySourceRange"},
    "CompleteMultipartUpload": _UPLOAD | {"MultipartUpload", "ChecksumType"},
    "AbortMultipartUpload": _UPLOAD,
    "ListParts": _UPLOAD | {"MaxParts", "PartNumberMarker"},
}
_COPYING: Final = frozenset({"CopyObject", "UploadPartCopy"})
_SOURCE: Final = re.compile(r"(?P<bucket>[^/?]+)/(?P<key>.+?)(?:\?versionId=[\w.-]+)?", re.ASCII | re.DOTALL)
_UNSAFE: Final = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")


class ObjectGuard:
    """Reads S3 calls on the bucket of one deployment."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def check(self, tenant_id: TenantId, operation: str, params: Params) -> None:
        """Raise CallRefusedError unless every key of the call is the tenant's."""
        if operation not in _ALLOWED:
            self._refuse("the scope does not cover this operation")
        if not params.keys() <= _ALLOWED[operation]:
            self._refuse("the call has a parameter that is not allowed")
        if self._text(params.get("Bucket")) != self._bucket:
            self._refuse("the bucket is not the deployment's")
        match operation:
            case "ListObjectsV2":
                self._hold_prefix(tenant_id, params.get("Prefix"))
            case "DeleteObjects":
                for key in self._deleted(params.get("Delete")):
                    self._hold(tenant_id, key)
            case _:
                self._hold(tenant_id, params.get("Key"))
        if operation in _COPYING:
            self._hold(tenant_id, self._source(params.get("CopySource")))

    def _hold(self, tenant_id: TenantId, key: object) -> None:
        text = self._text(key)
        for form in (text, unquote(text)):
            if not form.startswith(f"tenants/{tenant_id}/"):
                self._refuse("the key is not under the tenant's prefix")
            if _UNSAFE.search(form):
                self._refuse("the key may be read as another key")

    def _hold_prefix(self, tenant_id: TenantId, prefix: object) -> None:
        text = self._text(prefix)
        # A prefix may end where a key's next segment begins.
        self._hold(tenant_id, text + "-" if text.endswith("/") else text)

    def _deleted(self, delete: object) -> list[object]:
        match delete:
            case {"Objects": list(objects)} if all(type(entry) is dict for entry in objects):
                return [entry.get("Key") for entry in objects]
            case _:
                return self._refuse("the call cannot be read")

    def _source(self, source: object) -> str:
        # Botocore has made a text of it by now, percent-encoded as it goes into the header.
        found = _SOURCE.fullmatch(self._text(source))
        if found is None or found["bucket"] != self._bucket:
            self._refuse("the copy's source is another bucket")
        return unquote(found["key"])

    def _text(self, value: object) -> str:
        # Exactly a text: a subclass could claim to equal what it is not.
        if type(value) is not str:
            self._refuse("the call cannot be read")
        return value

    def _refuse(self, reason: str) -> Never:
        raise CallRefusedError(reason, self._bucket)
