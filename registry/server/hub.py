"""The hub that all requests share: the registry, its accounts, and how it is served."""

import ipaddress
import re
from dataclasses import dataclass, field
from functools import cached_property, partial
from urllib.parse import urlsplit

from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from registry.catalog.catalog import Catalog
from registry.errors import HostError
from registry.history.committing import Committer, Convert
from registry.history.history import History
from registry.search.overview import Overview, find_overview
from registry.server.converting import Conversions
from registry.server.counting import Counts
from registry.server.memory import Memory, Remembered
from registry.server.receiving import Uploads
from registry.server.serving import Downloads
from registry.server.signing import Passes, Signer
from registry.server.xet.scratch import Scratch
from registry.tables.listings import count_downloads

GIB = 1024 * 1024 * 1024

# RFC 9110, section 7.2, with the names and addresses of network hosts from RFC 3986.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a registry is served.

    Attributes:
        url: The address that people use; default: the address of each request.
        hosts: The names of this machine that a request may be sent to, beside ``localhost`` and
            addresses in digits; default: none.
        sign_in_required: Whether reading needs a token; default: no.
        part: Bytes of one upload; larger files come in parts. Default: 1 GiB.
        scratch: Bytes on the disk for uploads by Xet, which are kept for two days at most.
            Default: 64 GiB.
    """

    url: str | None = None
    hosts: frozenset[str] = frozenset()
    sign_in_required: bool = False
    part: int = GIB
    scratch: int = 64 * GIB

    def base_of(self, scheme: str, host: str) -> str:
        """Return the URL of the hub as the client knows it, without a slash at its end.

        Args:
            scheme: ``http`` or ``https``.
            host: The request's header ``Host``.

        Raises:
            HostError: The header names another host. This stops DNS rebinding: a web page could
                point its own name at this machine.
        """
        name = _name_of(host)
        own = None if self.url is None else urlsplit(self.url).hostname
        if not (_is_address(name) or name in {"localhost", own} or name in self.hosts):
            raise HostError(
                f"This hub does not answer for the host {host[:200]!r}. Its administrator names "
                "the address that people use."
            )
        return self.url.rstrip("/") if self.url else f"{scheme}://{host}"


@dataclass(frozen=True)
class Hub:
    """The hub, for handlers.

    Attributes:
        catalog: The registry.
        settings: How it is served.
        counts: Counts in memory.
        convert: Makes safetensors of pickled weights; see `Committer`. Default: nothing does.
    """

    catalog: Catalog
    settings: Settings = Settings()
    counts: Counts = field(default_factory=Counts)
    convert: Convert | None = None

    @cached_property
    def history(self) -> History:
        """The repositories."""
        return History(self.catalog.store)

    @cached_property
    def committer(self) -> Committer:
        """The maker of commits."""
        return Committer(self.catalog.store, self.convert)

    @cached_property
    def conversions(self) -> Conversions:
        """The conversions of pickled weights."""
        return Conversions(self.committer)

    @cached_property
    def accounts(self) -> Accounts:
        """The users and organisations."""
        return Accounts(self.catalog.store)

    @cached_property
    def tokens(self) -> Tokens:
        """The tokens."""
        return Tokens(self.catalog.store)

    @cached_property
    def memory(self) -> Memory:
        """Recent answers of the database."""
        return Memory(self.catalog.database)

    @cached_property
    def overview(self) -> Remembered[Overview]:
        """The overview of public repositories."""
        return Remembered(self.catalog.database, partial(find_overview, self.catalog.database))

    @cached_property
    def downloads(self) -> Downloads:
        """The sender of files."""
        return Downloads(self.catalog.store)

    @cached_property
    def uploads(self) -> Uploads:
        """The receiver of files."""
        return Uploads(self.catalog.store)

    @cached_property
    def signer(self) -> Signer:
        """The signer of URLs for uploads."""
        return Signer.of(self.catalog.store)

    @cached_property
    def passes(self) -> Passes:
        """The signer of passes for uploads by Xet."""
        return Passes.of(self.catalog.store)

    @cached_property
    def scratch(self) -> Scratch:
        """The place where xorbs wait."""
        return Scratch(self.catalog.home, self.settings.scratch)

    def sweep(self) -> None:
        """Remove leftovers of uploads that no client can use any more."""
        self.uploads.sweep()
        self.scratch.sweep()

    def write_counts(self) -> None:
        """Write the counts since the last time; if that fails, keep them."""
        downloads, uses = self.counts.take()
        try:
            if downloads:
                count = partial(count_downloads, counts=downloads)
                self.catalog.database.transact(count)
                downloads = {}
            if uses:
                self.tokens.touch(uses)
        except BaseException:
            self.counts.put_back(downloads, uses)
            raise


def _name_of(host: str) -> str:
    """Return the name in a header ``Host``, in lower case, without the port."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found[1].strip("[]").lower().rstrip(".")


def _is_address(name: str) -> bool:
    """Whether a host is an address in digits, which DNS rebinding cannot use."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
