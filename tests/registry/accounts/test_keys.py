from collections.abc import Callable

from registry import Catalog
from registry.accounts.keys import find_key


def test_a_key_is_made_once_and_is_the_same_for_everybody(
    open_registry: Callable[[str], Catalog],
) -> None:
    first, second = open_registry("one"), open_registry("one")
    key = find_key(first.store, "uploads")
    assert len(key) == 43
    assert find_key(second.store, "uploads") == key
    assert find_key(second.store, "sessions") != key


def test_two_registries_have_different_keys(catalog: Catalog, other_catalog: Catalog) -> None:
    assert find_key(catalog.store, "uploads") != find_key(other_catalog.store, "uploads")
