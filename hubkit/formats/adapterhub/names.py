"""How the ``adapters`` library names the sites of each architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hubkit.methods.sites import BlockSite, LinearSite, Place, Site
from registry.errors import AdapterError


@dataclass(frozen=True)
class Family:
    """The library's names for one architecture, in both directions.

    Attributes:
        prefix: The backbone's name inside a model with a head.
        paths: By list of layers and place, where its adapters are; ``{}`` is the layer's index.
        linears: Where the library spells the paths of linear layers in another way: a regular
            expression for its spelling, and ours.
        couplings: Where its invertible adapters are.
        merged: The end of the paths of linear layers that make queries, keys and values at once.
    """

    prefix: str
    paths: Mapping[tuple[str, Place], str]
    linears: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = ()
    couplings: str = "invertible_adapters"
    merged: str | None = None

    def name(self, site: Site) -> str:
        """The path of ``site`` in the library's files, inside the backbone.

        The library finds adapters by it in any model; the backbone's name, which may stand before
        it, is another one in models for some tasks. It has no fusions at linear layers, so those
        go by their own path.
        """
        if isinstance(site, LinearSite):
            return site.path
        layers, _, index = site.layer.rpartition(".")
        return self.paths[layers, site.place].format(index)

    def block(self, name: str) -> tuple[BlockSite, str] | None:
        """The sub-block that a tensor belongs to, and what follows its path in the name."""
        for (layers, place), path in self.paths.items():
            own = re.escape(path).replace(r"\{\}", r"(\d+)")
            if match := re.fullmatch(rf"(?:\w+\.)?{own}\.(.+)", name):
                return BlockSite(f"{layers}.{match[1]}", place), match[2]
        return None

    def linear(self, path: str) -> LinearSite:
        """The linear layer at a path of the library's."""
        path = path.removeprefix(f"{self.prefix}.")
        # The backbone has another name in models for some tasks.
        lists = "|".join(re.escape(one.partition(".{}")[0]) for one in self.paths.values())
        path = re.sub(rf"^\w+\.(?=(?:{lists})\.\d+\.)", "", path)
        for theirs, ours in self.linears:
            path = re.sub(theirs, ours, path)
        return LinearSite(path)

    def order(self, site: Site) -> tuple[int, int, str]:
        """A key that sorts sites from the first layer to the last."""
        lists = list(dict.fromkeys(layers for layers, _ in self.paths))
        for place, layers in enumerate(lists):
            if match := re.fullmatch(rf"{re.escape(layers)}\.(\d+)\.(.+)", str(site)):
                return place, int(match[1]), match[2]
        return len(lists), 0, str(site)

    def layer_of(self, site: Site) -> str:
        """The path of the layer that holds ``site``; empty where none does."""
        for layers, _ in self.paths:
            if match := re.match(rf"{re.escape(layers)}\.\d+(?=\.)", str(site)):
                return match[0]
        return ""

    def near(self, name: str) -> list[str]:
        """The paths that a tensor of that name may have meant, with the prefix and without."""
        number = re.search(r"\.(\d+)\.", name)
        paths = [path.format(number[1] if number else 0) for path in self.paths.values()]
        return [*paths, *(f"{self.prefix}.{path}" for path in paths)]

    def first(self) -> str:
        """The path of the first site, for messages."""
        return next(iter(self.paths.values())).format(0)


def family(model_type: str) -> Family:
    """The names for an architecture.

    Raises:
        AdapterError: None are known.
    """
    try:
        return _FAMILIES[model_type]
    except (KeyError, TypeError):  # a configuration may hold a list here
        raise AdapterError(
            f"hubkit knows no AdapterHub names for the architecture {model_type!r}; "
            f"it knows {', '.join(sorted(_FAMILIES))}."
        ) from None


def _first_letter(match: re.Match[str]) -> str:
    return f".attention.{match[1][0]}_proj"


def _alike(prefix: str, layers: str, attention: str, feed_forward: str) -> Family:
    """A family whose lists of layers, separated by blanks, are those of the base model."""
    paths: dict[tuple[str, Place], str] = {}
    for one in layers.split():
        paths[one, "attention"] = f"{one}.{{}}.{attention}"
        paths[one, "feed_forward"] = f"{one}.{{}}.{feed_forward}"
    return Family(prefix, paths)


_BERT_PATHS = ("attention.output", "output")
# Also its names in a model that it knows only through its plug-in interface.
_LAYER_PATHS = ("attention_adapters", "output_adapters")
_T5 = Family(
    "transformer",
    {
        ("encoder.block", "attention"): "encoder.block.{}.layer.0",
        ("encoder.block", "feed_forward"): "encoder.block.{}.layer.1",
        ("decoder.block", "attention"): "decoder.block.{}.layer.0",
        ("decoder.block", "feed_forward"): "decoder.block.{}.layer.2",
    },
    couplings="encoder.invertible_adapters",
)
_BART = replace(
    _alike("model", "encoder.layers decoder.layers", *_LAYER_PATHS),
    couplings="encoder.invertible_adapters",
)
_LLAMA = _alike("model", "layers", *_LAYER_PATHS)

_FAMILIES = {
    "bert": _alike("bert", "encoder.layer", *_BERT_PATHS),
    "roberta": _alike("roberta", "encoder.layer", *_BERT_PATHS),
    "xlm-roberta": _alike("roberta", "encoder.layer", *_BERT_PATHS),
    "electra": _alike("electra", "encoder.layer", *_BERT_PATHS),
    "deberta-v2": _alike("deberta", "encoder.layer", *_BERT_PATHS),
    "distilbert": _alike("distilbert", "transformer.layer", *_LAYER_PATHS),
    "mpnet": _alike("mpnet", "encoder.layer", *_LAYER_PATHS),
    "modernbert": _LLAMA,
    "gpt2": replace(_alike("transformer", "h", *_LAYER_PATHS), merged="c_attn"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    # The library knows the module names of transformers 4.
    "vit": Family(
        "vit",
        {
            ("layers", "attention"): "encoder.layer.{}.attention_adapters",
            ("layers", "feed_forward"): "encoder.layer.{}.output.output_adapters",
        },
        linears=(
            (r"^encoder\.layer\.", "layers."),
            (r"\.attention\.attention\.(query|key|value)$", _first_letter),
            (r"\.attention\.output\.dense$", ".attention.o_proj"),
            (r"\.intermediate\.dense$", ".mlp.fc1"),
            (r"\.output\.dense$", ".mlp.fc2"),
        ),
    ),
    "t5": _T5,
    "mt5": _T5,
    "bart": _BART,
    "mbart": _BART,
    "marian": _BART,
}
