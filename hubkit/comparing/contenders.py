"""What a fusion is compared with, from the cheapest to the fusion itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.mix import LearnedMix
from hubkit.adapters.tree import Attachable, Leaf, Tree
from hubkit.comparing.control import random_donors
from hubkit.composition import Fuse, Mix
from hubkit.models.freeze import Trainable
from hubkit.training.fusing.own import Own, own_adapter, own_settings
from hubkit.training.settings import MIX_LEARNING_RATE, Settings

Kind = Literal[
    "base", "alone", "donor", "mix", "learned mix", "fusion", "fusion with own", "control"
]


@dataclass(frozen=True)
class Made:
    """What the base model is to carry.

    Attributes:
        composition: None: nothing.
        trained: What is trained of it, beside the head.
    """

    composition: Leaf | None
    trained: tuple[Trainable, ...] = ()

    @property
    def weights(self) -> int:
        """How many numbers it adds to the base model, without the head."""
        if self.composition is None:
            return 0
        carried = [one.composition for one in Tree.of(self.composition).inside()]
        parameters = {
            id(parameter): parameter.numel()
            for one in carried
            if hasattr(one, "modules")
            for module in one.modules()
            for parameter in module.parameters()
        }
        return sum(parameters.values())


@dataclass(frozen=True)
class Given:
    """What contenders are made from.

    Attributes:
        model: The base model.
        donors: Frozen.
        seed: The seed of random donors.
        own: The adapter of the rows themselves, where it is trained before.
    """

    model: PreTrainedModel
    donors: Sequence[Attachable]
    seed: int
    own: Adapter | None = None


@dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
        name: Its name in the table.
        kind: Its kind.
        settings: How it is trained.
        make: What the base model is to carry, untrained.
        parts: The numbers of the donors that it is made of.
    """

    name: str
    kind: Kind
    settings: Settings
    make: Callable[[Given], Made]
    parts: Sequence[int] = ()


def contenders_of(
    settings: Settings,
    names: Sequence[str],
    own: Own,
    options: Mapping[str, Any],
    cache: int | None = None,
) -> list[Contender]:
    """All that is compared.

    A fusion is trained with ``settings``; adapters, heads and learned weights have the learning
    rates that are usual for them.

    Args:
        settings: The settings of the fusion.
        names: The names of the donors.
        own: How the own adapter, for the rows themselves, is trained. One fusion has it beside the
            donors; ``none`` leaves that fusion out.
        options: Options of ``Fusion.create_in``.
        cache: The bytes on the disk for what the backbone gives, where only the head is trained;
            None: it is computed in every epoch.
    """
    single = own_settings(settings)
    still = replace(single, cache_trunk=single.cache_trunk or cache)

    def new(model: PreTrainedModel, name: str, parts: Sequence[Attachable]) -> Fusion:
        return Fusion.create_in(model, Fuse(*parts), name, **options)

    def adapter(given: Given, name: str) -> Adapter:
        return own_adapter(given.model, name, given.donors, options.get("leave_out", ()))

    def base(_: Given) -> Made:
        return Made(None)

    def alone(given: Given) -> Made:
        made = own_adapter(given.model, "alone", given.donors)
        return Made(made, (made,))

    def donor(number: int) -> Callable[[Given], Made]:
        return lambda given: Made(LearnedMix.create(Mix(given.donors[number]), "donor"))

    def mix(given: Given) -> Made:
        return Made(LearnedMix.create(Mix(*given.donors), "mix"))

    def learned(given: Given) -> Made:
        made = LearnedMix.create(Mix(*given.donors), "learned mix")
        return Made(made, (made,))

    def fusion(given: Given) -> Made:
        made = new(given.model, "fusion", given.donors)
        return Made(made, (made,))

    def with_own(given: Given) -> Made:
        beside = given.own or adapter(given, "own")
        made = new(given.model, "fusion with own", [*given.donors, beside])
        return Made(made, (made,) if given.own is not None else (made, beside))

    def control(given: Given) -> Made:
        made = new(given.model, "control", random_donors(given.donors, given.seed))
        return Made(made, (made,))

    everyone = range(len(names))
    rate = replace(settings, learning_rate=MIX_LEARNING_RATE)
    found = [
        Contender("base model", "base", still, base),
        Contender("alone", "alone", single, alone),
        *(Contender(names[one], "donor", still, donor(one), [one]) for one in everyone),
        Contender("mix", "mix", still, mix, everyone),
        Contender("learned mix", "learned mix", rate, learned, everyone),
        Contender("fusion", "fusion", settings, fusion, everyone),
    ]
    if own != "none":
        name = f"fusion, own {own}"
        found.append(Contender(name, "fusion with own", settings, with_own, everyone))
    return [*found, Contender("control", "control", settings, control, everyone)]
