"""hubkit login."""

from __future__ import annotations

import sys

import click

from hubkit.cli.output import one_line


@click.command("login")
@click.option("--to", metavar="URL", help="The hub; default: huggingface.co, or HF_ENDPOINT.")
@click.option("--token", help="An access token; default: asked for, or read from standard input.")
def command(to: str | None, token: str | None) -> None:
    """Keep an access token for a hub, after checking it there.

    The token of the default hub is kept where the stock client keeps its own, so `hf` and
    transformers are logged in, too. A token is only sent to its own hub. HF_TOKEN replaces the
    token of the default hub; of other hubs, only one on this machine gets it.

    \b
    Example:
      hubkit login
      hubkit login --to https://hub.example.org < token.txt
    """
    from hubkit.hub.address import Hub, default_hub
    from hubkit.hub.session import log_in

    hub = Hub.parse(to) if to else default_hub()
    if token is None and sys.stdin.isatty():
        token = click.prompt(f"Token for {hub.url}", hide_input=True)
    user = log_in(hub, token if token is not None else sys.stdin.read())
    click.echo(f"Logged in to {hub.url} as {one_line(user)}.")
