"""hubkit publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_doing, print_json, print_published, version_json
from hubkit.cli.params import NAME, REF, TEXT
from hubkit.hub.address import DEFAULT, is_remote
from registry.errors import InvalidNameError, RefNotFoundError
from registry.refs import AdapterRef


@click.command("publish")
@click.argument("source", metavar="FOLDER|REF")
@click.option("--name", type=NAME, help="What to call it: NAME or OWNER/NAME.")
@click.option("--task", type=TEXT, help="What the adapter does, such as sentiment.")
@click.option(
    "--base",
    metavar="BASE",
    help="Its base model, in place of the one that FOLDER names: a folder or a hub id. With --to: "
    "its id on the hub, if here it is a folder.",
)
@click.option(
    "--label",
    "labels",
    type=TEXT,
    multiple=True,
    help="A label, if the head names none; repeat it for each, in the order of their ids.",
)
@click.option(
    "--parent",
    "parents",
    type=REF,
    multiple=True,
    help="A part of a fusion; repeat it for each, in the fusion's order.",
)
@click.option("--tag", "tags", type=TEXT, multiple=True, help="A word to find it by; repeatable.")
@click.option("--license", type=TEXT, help="SPDX identifier, such as apache-2.0.")
@click.option("--language", type=TEXT, help="BCP 47 tag, such as en.")
@click.option("--description", help="For people.")
@click.option("--message", help="A message about this version.")
@click.option(
    "--to",
    metavar="URL",
    is_flag=False,
    flag_value="hf:",
    help=f"Publish REF to a hub: its address, or hf:OWNER/NAME. Alone: {DEFAULT}.",
)
@click.option("--private", is_flag=True, help="With --to: make a new repository private.")
@json_option
def command(
    source: str,
    name: AdapterRef | None,
    to: str | None,
    private: bool,
    as_json: bool,
    **facts: Any,
) -> None:
    """Publish a FOLDER in this registry; with --to, REF on a hub.

    FOLDER was written by hubkit, PEFT or AdapterHub's library. An option replaces what the folder
    says; the folder itself does not change. Weights in a pickle are published as safetensors.

    With --to, REF becomes a repository on huggingface.co or on your own hub: one commit, with a
    model card and a tag for the version. The adapters that it is made of are published first. If
    its base model is a folder here, give that model's id on the hub as --base: the version is
    published here again with that id, and then there.

    \b
    Example:
      hubkit publish my-adapter --name reviews --task sentiment --license apache-2.0
      hubkit publish reviews --to https://huggingface.co
      hubkit publish reviews --to --base sentence-transformers/all-MiniLM-L6-v2
    """
    given = {fact: value for fact, value in facts.items() if value not in (None, ())}
    if to is not None:
        _to_hub(source, to, given, name=name, private=private, as_json=as_json)
    elif private:
        raise click.UsageError("--private is for a hub: say which with --to.")
    elif name is None:
        raise click.UsageError(
            "Missing option '--name': what to call the adapter in the folder, such as "
            f"--name reviews. To send {source} to a hub instead, say which with --to."
        )
    else:
        _to_registry(source, name, given, as_json=as_json)


def _to_registry(source: str, name: AdapterRef, given: dict[str, Any], *, as_json: bool) -> None:
    from hubkit.sharing.publish_folder import publish_folder
    from registry import open_catalog

    print_doing(f"Checking {source}")
    version = publish_folder(open_catalog(), Path(source), name, **given)
    print_published(version, as_json=as_json, then=f"hubkit show {version.ref}")


def _to_hub(
    source: str,
    to: str,
    given: dict[str, Any],
    *,
    name: AdapterRef | None,
    private: bool,
    as_json: bool,
) -> None:
    from hubkit.hub.address import parse_address
    from hubkit.sharing.publish_hub import publish_remote
    from registry import open_catalog

    base = given.pop("base", None)
    if given:
        options = ", ".join(f"--{fact.removesuffix('s')}" for fact in given)
        raise click.UsageError(f"{options}: what is published already does not change.")
    if not is_remote(to):
        raise click.BadParameter(
            f"{to} is not a hub's address, such as https://huggingface.co.", param_hint="--to"
        )
    try:
        pushed = publish_remote(
            open_catalog(),
            AdapterRef.parse(source),
            parse_address(to),
            name=name,
            base=base,
            private=private,
        )
    except (InvalidNameError, RefNotFoundError) as error:
        if not Path(source).is_dir():
            raise
        raise click.UsageError(
            f"{source} is a folder, and only what is published here goes to a hub. First: hubkit "
            f"publish {source} --name NAME. Then: hubkit publish NAME --to {to}"
        ) from error
    if as_json:
        print_json({**version_json(pushed.version), "url": pushed.url, "new": pushed.new})
        return
    click.echo(pushed.url if pushed.new else f"{pushed.url} (there already)")
