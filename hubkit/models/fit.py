"""Whether adapters belong to a model: its architecture, depth, sizes, and weights."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace

from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Leaf
from hubkit.bases.compare import compare, other_base, require_base
from hubkit.bases.describe import describe_model
from hubkit.bases.parts import parts_of, without_parts
from hubkit.methods.method import DeltaShape, Method
from hubkit.methods.sites import BlockSite, Site, is_in
from hubkit.models.head import head_tensors
from hubkit.nn.host import BaseModel, embedding_size, embeddings, site_sizes
from hubkit.nn.layout import has_layouts
from registry.errors import AdapterError, BaseModelMismatchError, UnsupportedModelError
from registry.manifest import BaseModelInfo

logger = logging.getLogger(__name__)

_CURE = "Load the base model that the adapter was trained on."


def has_sites(model_type: str) -> bool:
    """Whether hubkit knows the sites of an architecture, as ``config.json`` spells it."""
    return has_layouts(model_type)


class Fitting:
    """Checks adapters against one model; what they have in common is looked up once.

    Args:
        model: The model.
        allow_base_mismatch: Whether to take another base model of the same architecture and sizes.

    Raises:
        UnsupportedModelError: It is no transformers model, or hubkit knows no sites for it.
    """

    def __init__(self, model: PreTrainedModel, *, allow_base_mismatch: bool = False) -> None:
        if not isinstance(model, PreTrainedModel):
            raise UnsupportedModelError(
                f"Adapters are attached to a transformers model, not to a {type(model).__name__}."
            )
        self.model = model
        self._allow_base_mismatch = allow_base_mismatch
        self.host = BaseModel(model)
        self._same: list[BaseModelInfo] = []
        self._known: tuple[Method, Mapping[Site, DeltaShape]] | None = None

    def check(self, adapter: Adapter) -> None:
        """Make sure that ``adapter`` has a delta of the right size at each of its sites, no other.

        Raises:
            BaseModelMismatchError: It belongs to another base model.
        """
        self._check_sites(adapter)
        self._check_coupling(adapter)
        if not self._allow_base_mismatch and adapter.base is not None:
            self._check_base(str(adapter), adapter.base)

    def _check_base(self, adapter: str, base: BaseModelInfo) -> None:
        if base.fingerprint is None or base in self._same:
            return
        found = describe_model(self.model, like=base)
        # A model without the adapter's head need not have what lies before that head.
        comparison = require_base(f"Adapter {adapter}", without_parts(base, base.parts), found)
        for note in comparison.notes:
            logger.warning("%s", note)
        self._same.append(base)

    def check_parts(self, value: Leaf) -> None:
        """Make sure that a head of the model reads what the head of ``value`` read in training.

        That is what lies between the backbone and the outputs, such as a pooler, unless ``value``
        brings it along. Where the model has no head, a difference is noted.

        Raises:
            BaseModelMismatchError: A part has other weights.
        """
        base, head = value.base, value.head
        if self._allow_base_mismatch or base is None or base.fingerprint is None:
            return
        if head is not None:
            base = without_parts(base, parts_of(head.tensors, head.backbone))
        if not base.parts:
            return
        found = describe_model(self.model, like=base)
        comparison = compare(base, found)
        if comparison.same:
            return
        if head_tensors(self.model):
            raise other_base(f"Adapter {value}", base, found, comparison)
        logger.warning(
            "This %s differs from the base model of adapter %s in %s; the outputs of a head would "
            "differ from those in training.",
            self._name,
            value,
            ", ".join(comparison.differences),
        )

    @property
    def _name(self) -> str:
        return type(self.model).__name__

    def _check_sites(self, adapter: Adapter) -> None:
        try:
            targeted = self._expected(adapter.method)
        except AdapterError as error:
            raise BaseModelMismatchError(
                f"Adapter {adapter} does not fit this {self._name}: {error} {_CURE}"
            ) from error
        # Some classes of a model have more beside its layers than others, such as a pooler.
        expected = {
            site
            for site in targeted
            if site in adapter.deltas or any(is_in(site, one) for one in self.host.layers)
        }
        model_type = self.model.config.model_type
        if adapter.model_type not in (None, model_type) or expected != adapter.deltas.keys():
            deltas = others = ""
            if len(adapter.deltas) != len(expected):
                deltas = f" with deltas at {len(adapter.deltas)} sites"
                others = f" with {len(expected)}"
            raise BaseModelMismatchError(
                f"Adapter {adapter} fits a {adapter.model_type or 'model'}{deltas}; {self._name} "
                f"is a {model_type}{others}.{_odd('the adapter', adapter.deltas, expected)}"
                f"{_odd(self._name, expected, adapter.deltas)} {_CURE}"
            )
        for site, delta in adapter.deltas.items():
            inputs, outputs = site_sizes(self.model, site)
            found = (delta.shape.inputs, delta.shape.outputs)
            if found == (inputs, outputs):
                continue
            if isinstance(site, BlockSite):
                raise BaseModelMismatchError(
                    f"Adapter {adapter} has width {found[0]}; {self._name} has hidden size "
                    f"{outputs}. {_CURE}"
                )
            raise BaseModelMismatchError(
                f"Adapter {adapter} maps {found[0]} inputs to {found[1]} outputs at {site}; that "
                f"layer of {self._name} maps {inputs} to {outputs}. {_CURE}"
            )

    def _expected(self, method: Method) -> Mapping[Site, DeltaShape]:
        if self._known is None or self._known[0] != method:
            # AdapterHub's library passes over the numbers of layers that the base model lacks.
            there = tuple(one for one in method.leave_out if one < len(self.host.layers))
            self._known = method, replace(method, leave_out=there).shapes(self.host)
        return self._known[1]

    def _check_coupling(self, adapter: Adapter) -> None:
        if adapter.coupling is None:
            return
        embeddings(self.model)
        if adapter.coupling.width != embedding_size(self.model):
            raise BaseModelMismatchError(
                f"The invertible part of adapter {adapter} has width {adapter.coupling.width}; the "
                f"embeddings of {self._name} have {embedding_size(self.model)}. {_CURE}"
            )


def _odd(whose: str, sites: Collection[Site], others: Collection[Site]) -> str:
    """The first of the sites that are not among the others, as a sentence; may be empty."""
    odd = sorted(str(site) for site in sites if site not in others)
    return f" Only {whose} has a site {odd[0]}." if odd else ""
