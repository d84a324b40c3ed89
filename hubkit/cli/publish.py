"""hubkit publish."""

from __future__ import annotations

from pathlib import Path

import click

from hubkit.cli.options import json_option, name_option
from hubkit.cli.output import print_published
from registry.refs import AdapterRef


@click.command("publish")
@click.argument("folder", type=click.Path(path_type=Path))
@name_option
@click.option("--task", help="What the adapter does, such as sentiment.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; repeatable.")
@click.option("--license", help="SPDX identifier, such as apache-2.0.")
@click.option("--language", help="BCP 47 tag, such as en.")
@click.option("--description", help="For people.")
@click.option("--message", default="", help="What to say about this version.")
@json_option
def command(
    folder: Path,
    name: AdapterRef,
    task: str | None,
    tags: tuple[str, ...],
    license: str | None,
    language: str | None,
    description: str | None,
    message: str,
    as_json: bool,
) -> None:
    """Publish the adapter in FOLDER as the next version of a name.

    FOLDER is what hubkit.save_adapter wrote. What is given here stands in the published manifest
    in place of what the folder says; the folder itself is not changed.

    \b
    Example:
      hubkit publish my-adapter --name reviews --task sentiment --license apache-2.0
    """
    from hubkit.publishing import publish_folder
    from registry import open_catalog

    version = publish_folder(
        open_catalog(),
        folder,
        name,
        task=task,
        tags=tags or None,
        license=license,
        language=language,
        description=description,
        message=message,
    )
    print_published(version, as_json=as_json, then=f"hubkit show {version.ref}")
