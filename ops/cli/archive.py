"""A tenant's export on disk: whether it is whole, and what it holds."""

import hashlib
import zipfile
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from tenancy.errors import LockgateError

MANIFEST: Final = "manifest.json"
_PIECE_BYTES: Final = 65_536


class ExportBrokenError(LockgateError):
    """The archive is not what its manifest says."""

    code = "export_broken"


class Part(BaseModel):
    """A file of the archive as the manifest tells it."""

    name: str
    records: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an archive says it holds, without itself."""

    tenant: str
    parts: tuple[Part, ...]


def verified(path: Path) -> Manifest:
    """Return what an archive holds once each part is as the manifest says; raises ExportBrokenError."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = Manifest.model_validate_json(archive.read(MANIFEST))
            told = [part.name for part in manifest.parts] + [MANIFEST]
            if sorted(archive.namelist()) != sorted(told):
                raise ExportBrokenError(f"{path} holds other files than its manifest names")
            for part in manifest.parts:
                if _digest(archive, part.name) != part.sha256:
                    raise ExportBrokenError(f"{path}: {part.name} is not what was exported")
    except (zipfile.BadZipFile, KeyError, ValidationError) as error:
        raise ExportBrokenError(f"{path} is no whole export: {error}") from error
    return manifest


def _digest(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as part:
        while piece := part.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
