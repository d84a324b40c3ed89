"""What the hub signs: URLs to upload to, for whom, into what, which bytes, and until when; and
passes to upload by Xet.
"""

import hashlib
from dataclasses import astuple, dataclass
from typing import Self

from itsdangerous import BadSignature, URLSafeTimedSerializer

from registry.accounts.keys import signing_key
from registry.errors import ForbiddenError, SignInError
from registry.storage.files import FileInfo
from registry.store import Store

VALID = 24 * 60 * 60
"""Seconds that a signed URL can be used for."""

PASS_VALID = 15 * 60
"""Seconds that a pass can be used for; clients ask for another in time, and as seldom for where to
send, so that after a loss they send to the old place for so long.
"""


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
        self._serializer = _serializer(key, "hubkit upload")

    @classmethod
    def of(cls, store: Store) -> Self:
        """Return that of a registry: of all its processes, and after a restart."""
        return cls(signing_key(store))

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


@dataclass(frozen=True, slots=True)
class Pass:
    """What somebody shows who sends by Xet.

    It names no day: clients renew their pass within an upload, but not where they send to.

    Attributes:
        account_id: Whose pass it is.
        repository_id: In which repository that account could write when it asked for the pass.
    """

    account_id: int
    repository_id: int


class Passes:
    """Signs passes, and reads them back.

    Args:
        key: The secret, as for `Signer`.
    """

    def __init__(self, key: str) -> None:
        self._serializer = _serializer(key, "hubkit xet")

    @classmethod
    def of(cls, store: Store) -> Self:
        """Return those of a registry: of all its processes, and after a restart."""
        return cls(signing_key(store))

    def sign(self, one: Pass) -> str:
        """Return the text of a pass."""
        return self._serializer.dumps(astuple(one))

    def read(self, text: str) -> Pass:
        """Return what a pass allows.

        Raises:
            SignInError: It was not signed here, was altered, or is too old.
        """
        try:
            return Pass(*self._serializer.loads(text, max_age=PASS_VALID))
        except (BadSignature, TypeError) as error:
            raise SignInError("This pass is not, or no longer, valid. Ask for a new one.") from (
                error
            )


def _serializer(key: str, salt: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        key,
        salt=salt,
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )
