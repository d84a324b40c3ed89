"""Signed URLs: where an upload goes, for whom, into what, which bytes, and until when."""

import hashlib
from dataclasses import astuple, dataclass
from typing import Self

from itsdangerous import BadSignature, URLSafeTimedSerializer

from registry.accounts.keys import find_key
from registry.errors import ForbiddenError
from registry.storage.files import FileInfo
from registry.store import Store

VALID = 24 * 60 * 60
"""Seconds that a signed URL can be used for."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a signed URL allows to be sent.

    Attributes:
        account_id: For whom.
        repository_id: Into which repository.
        sha256: The digest of the file.
        size: Its bytes.
        part: Which part of it, from 1; 0 for the file as a whole.
        part_size: Bytes of each part but the last; 0 where it does not come in parts.
    """

    account_id: int
    repository_id: int
    sha256: str
    size: int
    part: int = 0
    part_size: int = 0

    @property
    def info(self) -> FileInfo:
        """The file as a whole."""
        return FileInfo(sha256=self.sha256, size=self.size)

    @property
    def parts(self) -> int:
        """How many parts the file comes in."""
        return -(-self.size // self.part_size) if self.part_size else 1

    @property
    def length(self) -> int:
        """Bytes that are sent to this URL."""
        if not self.part:
            return self.size
        return min(self.part_size, self.size - (self.part - 1) * self.part_size)


class Signer:
    """Signs what a URL allows, and reads it back.

    Args:
        key: The secret. All processes that serve a registry share it, and a restart keeps it.
    """

    def __init__(self, key: str) -> None:
        self._serializer = URLSafeTimedSerializer(
            key,
            salt="hubkit upload",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    @classmethod
    def of(cls, store: Store) -> Self:
        """Return that of a registry: of all its processes, and after a restart."""
        return cls(find_key(store, "uploads"))

    def sign(self, upload: Upload) -> str:
        """Return what stands in the URL."""
        return self._serializer.dumps(astuple(upload)).replace("\n", "")

    def read(self, text: str) -> Upload:
        """Return what a URL allows.

        Raises:
            ForbiddenError: It was not signed here, was altered, or is too old.
        """
        try:
            return Upload(*self._serializer.loads(text, max_age=VALID))
        except (BadSignature, TypeError) as error:
            raise ForbiddenError(
                "This URL is not, or no longer, one to upload to. Ask for a new one."
            ) from error
