"""What fusions attend to, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.tree import Attachable, names_of
from hubkit.composition import Stack
from hubkit.methods.sites import Site, is_in
from hubkit.models.attach import attached_to
from hubkit.nn.host import BaseModel, backbone
from registry.arguments import checked
from registry.errors import CompositionError

SiteAttention = dict[str, dict[str, float]]
"""By site (``encoder.layer.0.feed_forward``), then by adapter; each site sums to one."""


@checked
def mean_attention(
    model: PreTrainedModel, fusion: Fusion, batches: Iterable[Mapping[str, Any]]
) -> SiteAttention:
    """The mean weight that ``fusion`` gives to each of its adapters, over all tokens but padding.

    Args:
        model: Carries ``fusion`` and nothing else.
        batches: Inputs of the model, with an ``attention_mask`` of *shape* ``(batch, length)``, or
            ``(batch, choices, length)``; without one, all tokens count.

    Raises:
        CompositionError: ``model`` does not carry ``fusion``, or there are no batches.
    """
    if attached_to(model) is not fusion:
        raise CompositionError(
            f"This {type(model).__name__} does not carry {fusion}; attach that, and nothing else."
        )
    totals: dict[str, Tensor] = {}
    for inputs in batches:
        mask = inputs.get("attention_mask")
        for site, weights in _attention(model, inputs).items():
            counted = weights.flatten(0, -2)
            # The choices of a row are read as rows: (rows, choices, length) in two dimensions.
            if mask is not None and mask.flatten(0, -2).shape == weights.shape[:-1]:
                counted = weights[mask.flatten(0, -2).bool()]
            totals[site] = totals.get(site, 0.0) + counted.double().sum(0).cpu()
    if not totals:
        raise CompositionError("The attention is a mean over batches, but none was given.")
    names = names_of(fusion.parts)
    return {
        str(site): dict(
            zip(
                [names[number] for number in fusion.present(site)],
                (totals[str(site)] / totals[str(site)].sum()).tolist(),
                strict=True,
            )
        )
        for site in fusion.layers
    }


@dataclass(frozen=True)
class TokenAttention:
    """Which adapter of a fusion each token of a row listens to, layer by layer.

    Attributes:
        tokens: The tokens, or the words that they make, in order.
        adapters: The adapters of the fusion, by name and in its order.
        layers: The numbers of the layers that the fusion adds to, from 0.
        weights: What each token gives to each adapter in each layer: the mean over the sites of the
            layer, with 0 where an adapter adds nothing. *Shape:* ``(layers, tokens, adapters)``,
            float64; the adapters of a token sum to one.
    """

    tokens: tuple[str, ...]
    adapters: tuple[str, ...]
    layers: tuple[int, ...]
    weights: Tensor

    def mean(self) -> Tensor:
        """The mean over the layers. *Shape:* ``(tokens, adapters)``."""
        return self.weights.mean(0)

    @checked
    def in_layer(self, number: int) -> Tensor:
        """The weights in one layer. *Shape:* ``(tokens, adapters)``.

        Raises:
            CompositionError: The fusion adds nothing to a layer of that number.
        """
        if number not in self.layers:
            raise CompositionError(
                f"The fusion adds nothing in layer {number}; it does in "
                f"{', '.join(map(str, self.layers))}."
            )
        return self.weights[self.layers.index(number)]

    def joined(self, words: Sequence[tuple[str, Sequence[int]]]) -> TokenAttention:
        """The same for words: the mean of what the tokens of each give.

        Args:
            words: What each word is called, and the positions of its tokens.
        """
        weights = [self.weights[:, list(places)].mean(1) for _, places in words]
        return replace(
            self, tokens=tuple(name for name, _ in words), weights=torch.stack(weights, 1)
        )


def token_attention(
    model: PreTrainedModel,
    fusion: Fusion,
    tokens: Sequence[str],
    passes: Iterable[Mapping[str, Tensor]],
) -> TokenAttention:
    """What each token gives to each adapter of ``fusion``, in the layers that read the tokens.

    Of an encoder-decoder model, these are the layers of the encoder. A fusion inside of one of the
    parts of ``fusion`` is not asked.

    Args:
        model: Carries ``fusion``, by itself or in a stack.
        tokens: What the tokens of all passes are called, in order, without padding.
        passes: Inputs of the model, with ``input_ids``; several where a row is read in pieces.

    Raises:
        CompositionError: ``fusion`` adds nothing in those layers.
    """
    sites = {
        number: found
        for number, layer in _reading_layers(model).items()
        if (found := [site for site in fusion.layers if is_in(site, layer)])
    }
    if not sites:
        raise CompositionError(f"{fusion} adds nothing in the layers that read the tokens.")
    names = names_of(fusion.parts)
    pieces = []
    for inputs in passes:
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
        attention = _of(fusion, _attention(model, inputs))
        layers = []
        for own in sites.values():
            weights = torch.zeros(len(own), int(mask.sum()), len(names), dtype=torch.float64)
            for row, site in zip(weights, own, strict=True):
                # The choices of a row are read as rows: (rows, choices, length) in one dimension.
                counted = attention[site].flatten(0, -2)[mask.flatten()]
                row[:, fusion.present(site)] = counted.double().cpu()
            layers.append(weights.mean(0))
        pieces.append(torch.stack(layers))
    return TokenAttention(tuple(tokens), tuple(names), tuple(sites), torch.cat(pieces, 1))


def fusion_in(composition: Attachable | None) -> Fusion | None:
    """The one fusion that ``composition`` is, or that it holds as a stack; None if there is none.

    There is none, either, where a stack holds several.
    """
    found = _fusions(composition)
    return found[0] if len(found) == 1 else None


def _fusions(composition: object) -> list[Fusion]:
    if isinstance(composition, Fusion):
        return [composition]
    parts = composition.parts if isinstance(composition, Stack) else ()
    return [fusion for part in parts for fusion in _fusions(part)]


def layers_and_places(
    model: PreTrainedModel, sites: Iterable[str]
) -> dict[str, tuple[int | None, str]]:
    """The number of the layer of each site, from 0, and its place there.

    What lies in no layer, such as a pooler, has no number and is named by its path.
    """
    found: dict[str, tuple[int | None, str]] = {site: (None, site) for site in sites}
    for number, layer in enumerate(BaseModel(model).layers):
        found |= {
            site: (number, site.removeprefix(f"{layer}."))
            for site in found
            if site.startswith(f"{layer}.")
        }
    return found


def _attention(model: PreTrainedModel, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    with torch.inference_mode():
        found: dict[str, Tensor] = model(**inputs, output_fusion_attention=True).fusion_attention
    return found


def _reading_layers(model: PreTrainedModel) -> dict[int, str]:
    """The layers that read a row, by number: those of the encoder, where there are both."""
    layers = dict(enumerate(BaseModel(model).layers))
    if not model.config.is_encoder_decoder:
        return layers
    encoder = model.get_encoder()
    path = next(path for path, one in backbone(model).named_modules() if one is encoder)
    return {number: layer for number, layer in layers.items() if layer.startswith(f"{path}.")}


def _of(fusion: Fusion, attention: Mapping[str, Tensor]) -> dict[Site, Tensor]:
    """The weights of ``fusion`` alone, by site.

    A fusion in a stack is named by its place in it, after the site. One that is inside of another
    has the longer name.
    """
    found: dict[Site, Tensor] = {}
    for name in sorted(attention, key=len):
        inside = [site for site in fusion.layers if f"{name}.".startswith(f"{site}.")]
        # A linear layer may be inside of a sub-block.
        found.setdefault(max(inside, key=lambda site: len(str(site))), attention[name])
    return found
