"""The objects under one URL of an object storage: S3, Google Cloud Storage or Azure.

Credentials, region and endpoint come from the environment, as the provider's own tools read them
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, ...).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import StorageError
from registry.storage.durable import storage_errors

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import RetryConfig, S3Config

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https")
_RETRYING: "RetryConfig" = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_PAGE = 1000
_CHUNK = 8 << 20


class Bucket:
    """One client for all objects of a registry under a URL; keys are relative to it.

    Args:
        url: ``s3://bucket/folder``, ``gs://...`` or ``az://...``.

    Attributes:
        url: The same, without a slash at its end.
        obstore: The client's functions.
        store: Their first argument.

    Raises:
        StorageError: `url` is malformed, or the client is not installed.
    """

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self.url = url.rstrip("/")
        scheme = url.partition("://")[0]
        if scheme not in _SCHEMES:
            raise StorageError(
                f"{url!r} is no object storage: expected s3://bucket/folder, gs://... or "
                "az://... Check HUBKIT_STORAGE_URL.",
                url,
            )
        try:
            import obstore
        except ModuleNotFoundError as error:
            raise StorageError(
                f"{url} needs the object storage client, which is not installed. "
                "Run: pip install 'hubkit[storage]'",
                url,
            ) from error
        self.obstore = obstore
        with self.errors("open"):
            from obstore.store import from_url

            if scheme.startswith("s3"):
                # The server then checks every part that it receives.
                config: S3Config = {"checksum_algorithm": "SHA256"}
                self.store = from_url(url, config=config, retry_config=_RETRYING)
            else:
                self.store = from_url(url, retry_config=_RETRYING)

    def location(self, key: str) -> str:
        """Return the URL of an object, for messages."""
        return f"{self.url}/{key}"

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None if there is none.

        Raises:
            StorageError: It cannot be looked at.
        """
        found = self._head(key)
        return None if found is None else found["size"]

    def tag(self, key: str) -> str | None:
        """Return what changes with the content of an object; None if there is none.

        Raises:
            StorageError: It cannot be looked at.
        """
        found = self._head(key)
        return None if found is None else _tag(found)

    def _head(self, key: str) -> "ObjectMeta | None":
        with self.errors("read"):
            try:
                return self.obstore.head(self.store, key)
            except FileNotFoundError:
                return None

    def tags(self) -> Iterator[tuple[str, str]]:
        """Yield the keys of all objects, each with its tag.

        Raises:
            StorageError: They cannot be listed.
        """
        return ((item["path"], _tag(item)) for item in self.objects(""))

    def fetch(self, key: str, target: Path, tag: str) -> None:
        """Write an object into a file.

        Raises:
            StorageError: It cannot be read, or has another tag, or the file cannot be written.
        """
        with self.errors("read"):
            found = self.obstore.get(self.store, key)
            if _tag(found.meta) != tag:
                raise StorageError(f"{self.location(key)} has changed since it was looked at.", key)
            with storage_errors("write", target), target.open("wb") as file:
                for chunk in found.stream(min_chunk_size=_CHUNK):
                    file.write(chunk)

    def folders(self, prefix: str) -> set[str]:
        """Return the names of the folders in a folder.

        Raises:
            StorageError: They cannot be listed.
        """
        with self.errors("list what is in"):
            found = self.obstore.list_with_delimiter(self.store, prefix)
            return {path.rpartition("/")[2] for path in found["common_prefixes"]}

    def objects(self, prefix: str) -> Iterator["ObjectMeta"]:
        """Yield the objects in a folder and its subfolders.

        Raises:
            StorageError: It cannot be listed.
        """
        with self.errors("list what is in"):
            for page in self.obstore.list(self.store, prefix, chunk_size=_PAGE):
                yield from page

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Turn the client's errors into a StorageError that says "Cannot `action` `url`"."""
        try:
            yield
        except (self.obstore.exceptions.BaseError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise StorageError(
                f"Cannot {action} {self.url}: {reason}. Check the URL, the credentials and the "
                "network, then run it again.",
                self.url,
            ) from error


def _tag(item: "ObjectMeta") -> str:
    """Of a storage that has no tags, the time of the last change and the size."""
    return item["e_tag"] or f"{item['last_modified']} {item['size']}"
