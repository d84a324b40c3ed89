from collections.abc import Callable

from registry import Catalog
from registry.accounts.keys import signing_key


def test_a_key_is_made_once_and_is_the_same_for_everybody(
    open_registry: Callable[[str], Catalog],
) -> None:
    first, second = open_registry("one"), open_registry("one")
    key = signing_key(first.store)
    assert len(key) == 43
    assert signing_key(second.store) == key


def test_two_registries_have_different_keys(catalog: Catalog, other_catalog: Catalog) -> None:
    assert signing_key(catalog.store) != signing_key(other_catalog.store)
