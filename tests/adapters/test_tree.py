from __future__ import annotations

import pytest

from hubkit import Batch, Fuse, Parallel, Stack
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.tree import Tree, names_of
from registry.errors import CompositionError
from tests.support.models import random_adapter, tiny_model


def test_a_tree_has_the_adapters_and_the_sites_of_its_parts() -> None:
    model = tiny_model()
    one, two = random_adapter(model, "one", leave_out=(0,)), random_adapter(model, "two")
    tree = Tree.of(Stack(one, Fusion.create(Fuse(one, two))))
    assert tree.adapters == (one, one, two)
    assert set(tree.sites) == set(two.deltas)
    (first,) = two.deltas.keys() - one.deltas.keys()
    (last,) = one.deltas.keys()
    assert (tree.at(first), tree.at(last)) == ([1], [0, 1])
    assert [type(part.composition).__name__ for part in tree.inside()] == [
        *("Stack", "Adapter", "Fusion", "Adapter", "Adapter")
    ]


def test_a_fusion_works_out_what_it_is_made_of_once() -> None:
    model = tiny_model()
    fusion = Fusion.create(Fuse(random_adapter(model, "a"), random_adapter(model, "b")))
    assert Tree.of(fusion) is Tree.of(Stack(random_adapter(model, "c"), fusion)).parts[1]


def test_what_chooses_by_rows_is_found_wherever_it_stands() -> None:
    model = tiny_model()
    a, b, c = (random_adapter(model, name) for name in "abc")
    batch, parallel = Batch([a, b]), Parallel(a, b)
    assert Tree.of(Stack(c, batch)).row_choice is batch
    assert Tree.of(parallel).row_choice is parallel
    assert Tree.of(Stack(a, b)).row_choice is None


def test_a_name_is_no_loaded_adapter_however_deep_it_stands() -> None:
    model = tiny_model()
    with pytest.raises(CompositionError, match=r"found 'b' \(str\)"):
        Tree.of(Stack(random_adapter(model), Fuse("b", "c")))


def test_parts_of_one_name_get_a_number() -> None:
    assert names_of(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
