"""What all requests share: the registry, who may use it, and how it is served."""

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

# RFC 9110, section 7.2; with the names and addresses of RFC 3986 that hosts on a network have.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a registry is served.

    Attributes:
        url: The address that people use; default: whatever a request was sent to.
        hosts: The names of this machine that a request may be sent to, beside ``localhost`` and
            addresses in digits; default: none.
        sign_in_required: Whether nobody sees anything without a token; default: no.
        part: Bytes that a client sends at a time; larger files come in parts. Default: 1 GiB.
        scratch: Bytes on the disk for what comes by Xet, which is kept for two days at most.
            Default: 64 GiB.
    """

    url: str | None = None
    hosts: frozenset[str] = frozenset()
    sign_in_required: bool = False
    part: int = GIB
    scratch: int = 64 * GIB

    def base_of(self, scheme: str, host: str) -> str:
        """Return the URL of the hub as the sender of a request knows it, without a slash at its
        end.

        Args:
            scheme: ``http`` or ``https``.
            host: What the request's header ``Host`` says.

        Raises:
            HostError: It was meant for somebody else: a page on the web can make a browser ask
                this machine under a name of its own.
        """
        name = _name_of(host)
        own = None if self.url is None else urlsplit(self.url).hostname
        if not (_is_address(name) or name in {"localhost", own} or name in self.hosts):
            raise HostError(
                f"This hub does not answer for the host {host[:200]!r}. Whoever runs it names the "
                "address that people use."
            )
        return self.url.rstrip("/") if self.url else f"{scheme}://{host}"


@dataclass(frozen=True)
class Hub:
    """What handlers are given beside the request.

    Attributes:
        catalog: The registry.
        settings: How it is served.
        counts: What is counted in memory for a while.
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
        """What makes commits."""
        return Committer(self.catalog.store, self.convert)

    @cached_property
    def conversions(self) -> Conversions:
        """What converts pickled weights."""
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
        """What the database was just asked."""
        return Memory(self.catalog.database)

    @cached_property
    def overview(self) -> Remembered[Overview]:
        """What there is to look for in what is public."""
        return Remembered(self.catalog.database, partial(find_overview, self.catalog.database))

    @cached_property
    def downloads(self) -> Downloads:
        """What sends files."""
        return Downloads(self.catalog.store)

    @cached_property
    def uploads(self) -> Uploads:
        """What takes files in."""
        return Uploads(self.catalog.store)

    @cached_property
    def signer(self) -> Signer:
        """What signs the URLs that bytes are sent to."""
        return Signer.of(self.catalog.store)

    @cached_property
    def passes(self) -> Passes:
        """What signs the passes of those who send by Xet."""
        return Passes.of(self.catalog.store)

    @cached_property
    def scratch(self) -> Scratch:
        """Where xorbs wait."""
        return Scratch(self.catalog.home, self.settings.scratch)

    def sweep(self) -> None:
        """Remove what uploads have left behind and nobody can use any more."""
        self.uploads.sweep()
        self.scratch.sweep()

    def write_counts(self) -> None:
        """Write what was counted since the last time; what cannot be written is kept."""
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
    """Whether a host is named in digits, which no page on the web can make mean another one."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
