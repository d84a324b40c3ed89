"""Large files on their way in, by the protocol of Git LFS.

The client asks where to send files, sends each to a signed URL, and names them in a commit.
"""

from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from registry.errors import (
    ForbiddenError,
    NoSuchPageError,
    RequestError,
    StorageError,
    UnsupportedRequestError,
)
from registry.fields import Several
from registry.server.admitting import reader_of
from registry.server.asking import Asking, Body
from registry.server.hub import Hub
from registry.server.signing import Upload
from registry.storage.files import Digest, FileInfo
from registry.tables.reader import Reader

LARGEST = 1024**5
"""Most bytes of a file."""

MOST_PARTS = 10_000
"""Most parts of a file; the answer has a signed URL for each."""

MEDIA_TYPE = "application/vnd.git-lfs+json"


class _Object(Body):
    oid: Digest
    size: Annotated[int, Field(ge=0, le=LARGEST)]

    @property
    def info(self) -> FileInfo:
        return FileInfo(sha256=self.oid, size=self.size)


class _Batch(Body):
    operation: str
    transfers: Several[str] = ("basic",)
    hash_algo: Literal["sha256"] = "sha256"
    objects: Annotated[list[_Object], Field(max_length=1000)]


def batch(hub: Hub, ask: Asking) -> Response:
    """Return for each file the address to send it to, or that it is there."""
    wanted = ask.read(_Batch)
    if wanted.operation != "upload":
        raise UnsupportedRequestError("This hub sends files by /resolve, not by Git LFS.")
    known = possessed(hub, ask, [one.oid for one in wanted.objects])
    # Lost bytes are accepted again.
    there = {one.oid for one in wanted.objects if one.oid in known and _is_stored(hub, one.info)}
    in_parts = "multipart" in wanted.transfers
    objects = [
        {"oid": one.oid, "size": one.size}
        | ({} if one.oid in there else {"actions": _actions(hub, ask, one, in_parts)})
        for one in wanted.objects
    ]
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type=MEDIA_TYPE)


def _is_stored(hub: Hub, info: FileInfo) -> bool:
    return hub.catalog.blobs.size(info.sha256) == info.size


def _actions(hub: Hub, ask: Asking, one: _Object, in_parts: bool) -> dict[str, Any]:
    part = hub.settings.part
    if not in_parts or one.size <= part:
        upload: dict[str, Any] = {"href": _signed(hub, ask, one)}
    else:
        part = max(part, -(-one.size // MOST_PARTS))
        urls = {
            str(number): _signed(hub, ask, one, number, part)
            for number in range(1, -(-one.size // part) + 1)
        }
        upload = {"href": _signed(hub, ask, one, 0, part)}
        upload["header"] = {"chunk_size": str(part), **urls}
    verify = f"{ask.base}/{ask.repository.place}.git/info/lfs/objects/verify"
    return {"upload": upload, "verify": {"href": verify}}


def _signed(hub: Hub, ask: Asking, one: _Object, part: int = 0, part_size: int = 0) -> str:
    upload = Upload(ask.account, ask.repository.id, one.oid, one.size, part, part_size)
    return f"{ask.base}/_lfs/{hub.signer.sign(upload)}"


def verify(hub: Hub, ask: Asking) -> Response:
    """Return whether a file that was sent is stored."""
    one = ask.read(_Object)
    if possessed(hub, ask, [one.oid]).get(one.oid) != one.size:
        raise NoSuchPageError("These bytes have not come.")
    return JSONResponse({}, media_type=MEDIA_TYPE)


def take(hub: Hub, ask: Asking) -> ASGIApp:
    """Take a file, or a part of one, at its signed URL.

    The body is read and hashed even if the bytes are there: the sender proves to have them, and
    other clients do not learn whether they are there.
    """
    upload = hub.signer.read(ask.params["signature"])
    announced = ask.headers.get("content-length")
    if announced is not None and announced != str(upload.length):
        raise RequestError(f"This URL takes {upload.length} bytes, not {announced[:20]}.")
    if upload.part:
        return hub.uploads.part(upload, ask.id)
    if upload.part_size:
        raise ForbiddenError("This URL is for the request after the parts.")
    return hub.uploads.file(upload, partial(_remember, hub, upload), ask.id)


class _Part(Body):
    partNumber: int
    etag: str


class _Completion(Body):
    parts: Annotated[list[_Part], Field(max_length=MOST_PARTS)]


def complete(hub: Hub, ask: Asking) -> Response:
    """Make a file of its parts."""
    upload = hub.signer.read(ask.params["signature"])
    if upload.part or not upload.part_size:
        raise ForbiddenError("This URL is for the bytes themselves.")
    named = [one.partNumber for one in ask.read(_Completion).parts]
    if named != [*range(1, upload.parts + 1)]:
        raise RequestError(f"Expected the parts 1 to {upload.parts}, in this order.")
    # The client may not have received the first answer, or not waited for it.
    if not _has_come(hub, upload):
        try:
            _remember(hub, upload, hub.uploads.complete(upload))
        except (RequestError, StorageError):
            if not _has_come(hub, upload):
                raise
    hub.uploads.remove_parts(upload)
    return JSONResponse({})


def _has_come(hub: Hub, upload: Upload) -> bool:
    """Whether the account possesses a file, and its bytes are not lost."""
    known = hub.history.possessed([upload.sha256], account_id=upload.account_id, reader=Reader())
    return upload.sha256 in known and _is_stored(hub, upload.info)


def possessed(hub: Hub, ask: Asking, digests: Collection[str]) -> dict[str, int]:
    """Return the sizes of the bytes that the caller sent lately, or may read."""
    return hub.history.possessed(digests, account_id=ask.account, reader=reader_of(ask.caller))


def _remember(hub: Hub, upload: Upload, info: FileInfo) -> None:
    hub.history.remember_upload(upload.account_id, info)
