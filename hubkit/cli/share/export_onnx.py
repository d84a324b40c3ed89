"""hubkit export-onnx."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hubkit.cli.options import allow_base_mismatch_option, base_option, json_option
from hubkit.cli.output import print_doing, print_json, quiet
from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("export-onnx")
@click.argument("ref", type=REF)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace an earlier export in FOLDER.")
@base_option
@allow_base_mismatch_option
@json_option
def command(
    ref: AdapterRef,
    folder: Path,
    replace: bool,
    base: str | None,
    allow_base_mismatch: bool,
    as_json: bool,
) -> None:
    """Write an adapter and its base model as one ONNX graph.

    FOLDER then has all that onnxruntime serves it with: the graph, the tokenizer, the labels, and
    how texts are cut. What onnxruntime computes is compared with what `hubkit predict` does, on
    texts and on noise: if they differ by more than 1e-4, there is no FOLDER.

    \b
    Example:
      hubkit export-onnx reviews@best reviews-onnx
    """
    stdout = sys.stdout
    with quiet():
        from hubkit.exporting.export_onnx import export_onnx

        print_doing(f"Writing {ref} as a graph, and checking it")
        done = export_onnx(
            ref, folder, base=base, allow_base_mismatch=allow_base_mismatch, replace=replace
        )
    if as_json:
        document = {
            "folder": str(done.folder),
            "inputs": done.inputs,
            "outputs": done.outputs,
            "difference": done.difference,
        }
        print_json(document)
        return
    click.echo(f"{done.folder}: {', '.join(done.inputs)} -> {', '.join(done.outputs)}", file=stdout)
    click.echo(f"The largest difference is {done.difference:.1e}.", file=stdout)
