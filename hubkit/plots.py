"""Pictures, as PNG bytes: training curves, predictions, and the attention of a fusion."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COUNTED_MOST = 20
"""Labels of a confusion matrix that still leaves room for numbers."""


def training_curves(history: Sequence[Mapping[str, float]]) -> bytes:
    """Losses, and the validation metrics, over the epochs.

    Args:
        history: What a ``Trainer`` logged: entries with ``epoch`` and ``loss`` or ``eval_*``.
    """
    figure = _figure(9, 3.5)
    losses, scores = figure.subplots(1, 2)
    _curve(losses, history, "loss", "training")
    _curve(losses, history, "eval_loss", "validation")
    losses.set(xlabel="epoch", ylabel="loss", title="Loss")
    names = {name for entry in history for name in entry if name.startswith("eval_")}
    for name in sorted(names - {"eval_loss"}):
        if not name.endswith(("runtime", "per_second")):
            _curve(scores, history, name, name.removeprefix("eval_"))
    scores.set(xlabel="epoch", ylabel="score", title="Validation")
    low, high = scores.dataLim.intervaly
    if not (low < 0 or 1 < high < float("inf")):  # it is infinite where nothing is drawn
        scores.set_ylim(0, 1.02)
    for axes in (losses, scores):
        if axes.lines:
            axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return _png(figure)


def confusion_matrix(
    labels: Sequence[str], expected: Sequence[int], predicted: Sequence[int]
) -> bytes:
    """A picture of how many rows of each label are predicted as each label.

    Args:
        labels: The names of the ids; each has a row and a column, in this order.
        expected: The id of the right label, for each row of the data.
        predicted: The id that was predicted, for each row of the data.
    """
    counts = [[0] * len(labels) for _ in labels]
    for right, found in zip(expected, predicted, strict=True):
        counts[right][found] += 1
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    size = max(4.0, min(24.0, 2.5 + 0.45 * len(labels)))
    figure = _figure(size + 1, size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in labels]
    # A dollar sign is one: nothing here is mathematics.
    axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="expected", title="Validation")
    if len(labels) <= _COUNTED_MOST:
        for right, row in enumerate(counts):
            for found, count in enumerate(row):
                color = "black" if shares[right][found] > 0.6 else "white"
                axes.text(found, right, str(count), ha="center", va="center", color=color)
    figure.colorbar(image, label="share of the rows of a label")
    return _png(figure)


def scatter(expected: Sequence[float], predicted: Sequence[float]) -> bytes:
    """A point for each row, and the line on which predictions are right.

    Args:
        expected: The right number of each row.
        predicted: The one that was predicted, in the same order.
    """
    figure = _figure(5, 5)
    axes = figure.subplots()
    axes.scatter(expected, predicted, s=12, alpha=0.5)
    ends = [min(*expected, *predicted), max(*expected, *predicted)]
    axes.plot(ends, ends, color="gray", linewidth=1)
    axes.set(xlabel="expected", ylabel="predicted", title="Validation")
    axes.grid(alpha=0.3)
    return _png(figure)


def attention_heat_map(attention: Mapping[str, Mapping[str, float]], title: str) -> bytes:
    """The weight that each site of a fusion gives to each adapter.

    Args:
        attention: By site, such as its layer and place, then by adapter. An adapter that is absent
            at a site is left out there.
        title: The text above.
    """
    adapters = list(dict.fromkeys(name for row in attention.values() for name in row))
    weights = [[row.get(name, float("nan")) for name in adapters] for row in attention.values()]
    return _heat_map([*attention], adapters, weights, title, "layer and place", "mean attention")


def token_heat_map(
    tokens: Sequence[str],
    adapters: Sequence[str],
    weights: Sequence[Sequence[float]],
    title: str,
    unit: str = "token",
) -> bytes:
    """The weight that each token of a text gives to each adapter of a fusion.

    Args:
        tokens: One row for each, in this order.
        adapters: A column each.
        weights: By token, then by adapter.
        title: The text above.
        unit: What a row is, such as a word.
    """
    return _heat_map(tokens, adapters, weights, title, unit, "attention")


def _heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    weights: Sequence[Sequence[float]],
    title: str,
    unit: str,
    meaning: str,
) -> bytes:
    # A picture of a long text would be too large to show.
    size = (2.5 + 1.3 * len(columns), min(500.0, 1.6 + 0.4 * len(rows)))
    figure = _figure(*size)
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    # A dollar sign is one: nothing here is mathematics.
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set_title(title, parse_math=False)
    axes.set(xlabel="adapter", ylabel=unit)
    for row, values in enumerate(weights):
        for column, weight in enumerate(values):
            color = "black" if weight > 0.6 else "white"
            axes.text(column, row, f"{weight:.2f}", ha="center", va="center", color=color)
    figure.colorbar(image, label=meaning)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    """An empty one, in inches."""
    from matplotlib.figure import Figure  # slow to load, and few commands draw

    return Figure(figsize=(width, height), layout="constrained")


def _curve(axes: Axes, history: Sequence[Mapping[str, float]], name: str, label: str) -> None:
    points = [(entry["epoch"], entry[name]) for entry in history if name in entry]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, marker="o", markersize=3, label=label)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # Of a letter that no font here has, a box is drawn.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
