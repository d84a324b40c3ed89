"""hubkit serve."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

import click

from registry.errors import listed

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog

LOOPBACK = "127.0.0.1"


@click.command("serve")
@click.option(
    "--host",
    default=LOOPBACK,
    show_default=True,
    help="The address to listen on; 0.0.0.0 for all of this machine's.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The port."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="The number of processes that answer.",
)
@click.option(
    "--url",
    metavar="URL",
    callback=lambda ctx, param, value: _url(value),
    help="The address that people use, such as https://hub.example.org.  [default: the host of the "
    "request, if that is localhost, this machine's name, or in digits]",
)
@click.option("--sign-in-required", is_flag=True, help="Show nothing to requests without a token.")
@click.option(
    "--scratch",
    type=click.IntRange(min=1),
    metavar="GIB",
    default=64,
    show_default=True,
    help="GiB of disk at most for uploads by Xet, which are kept for two days.",
)
def command(
    host: str, port: int, workers: int, url: str | None, sign_in_required: bool, scratch: int
) -> None:
    """Serve the registry as a hub, to clients of the Hugging Face Hub.

    They need HF_ENDPOINT and HF_TOKEN. If no user could sign in yet, a first user is made, whose
    token is printed once.

    \b
    Example:
      hubkit serve
      hubkit serve --host 0.0.0.0 --url https://hub.example.org
    """
    from hubkit.cli.serve.first import require_user
    from registry import open_catalog
    from registry.server.hub import GIB, Settings
    from registry.server.running import run

    catalog = open_catalog()
    address = url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    require_user(catalog, is_open=not _is_loopback(host), address=address)
    catalog.history.complete_listings()
    _tell_left_out(catalog)
    catalog.close()
    click.echo(f"Serving {catalog.home} at {address}", err=True)
    names = frozenset({socket.gethostname().lower(), host.lower()})
    settings = Settings(
        url=url, hosts=names, sign_in_required=sign_in_required, scratch=scratch * GIB
    )
    run(settings, host=host, port=port, workers=workers, app="hubkit.serving:make_app")


def _tell_left_out(catalog: Catalog) -> None:
    left_out = catalog.history.without_account()
    if left_out:
        names = listed([str(ref) for ref in left_out])
        click.echo(f"Note: not served, as they belong to no account: {names}", err=True)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(text: str | None) -> str | None:
    from urllib.parse import urlsplit

    if text is None:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise click.BadParameter(
            f"{text!r} is not the address of a hub: expected http(s)://HOST[:PORT] without a path, "
            "which not all clients can use."
        )
    return text.rstrip("/")
