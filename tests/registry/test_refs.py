import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import AdapterRef
from registry.errors import InvalidNameError
from registry.refs import MAX_NUMBER, fold_owner

names = st.from_regex(r"[A-Za-z0-9]([-_]?[A-Za-z0-9]){0,20}", fullmatch=True)
numbers = st.integers(1, MAX_NUMBER)
aliases = st.from_regex(r"[a-z]([-_]?[a-z0-9]){0,20}", fullmatch=True)
refs = st.one_of(
    st.builds(AdapterRef, st.none() | names, names),
    st.builds(AdapterRef, st.none() | names, names, version=numbers),
    st.builds(AdapterRef, st.none() | names, names, alias=aliases),
)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("sst2", AdapterRef(None, "sst2")),
        ("alice/sst2", AdapterRef("alice", "sst2")),
        ("alice/sst2@3", AdapterRef("alice", "sst2", version=3)),
        ("sst2@best", AdapterRef(None, "sst2", alias="best")),
        ("A.b_c-d@latest", AdapterRef(None, "A.b_c-d", alias="latest")),
        (f"x@{MAX_NUMBER}", AdapterRef(None, "x", version=MAX_NUMBER)),
        ("x" * 96, AdapterRef(None, "x" * 96)),
    ],
)
def test_parse_reads_owner_name_version_and_alias(text: str, ref: AdapterRef) -> None:
    assert AdapterRef.parse(text) == ref
    assert str(ref) == text


@given(refs)
def test_parse_reads_back_what_str_prints(ref: AdapterRef) -> None:
    assert AdapterRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/sst2",
        "alice/",
        "a/b/c",
        "../secrets",
        "a/..",
        "a..b",
        ".hidden",
        "-flag",
        "dot.",
        "name.lock",
        "name.LOCK",
        "/etc/passwd",
        r"\\server\share",
        r"C:\name",
        "C:name",
        "tab\tname",
        "null\0name",
        "line\n",
        "naïve",
        "\uff46ull",
        "a b",
        "x" * 97,
        "a@",
        "a@0",
        "a@007",
        "a@-1",
        "a@3b",
        "a@٣",
        f"a@{MAX_NUMBER + 1}",
        "a@99999999999999999999",
        "a@Best",
        "a@best-",
        "a@" + "x" * 49,
        "a@b@c",
        "a@b/c",
    ],
)
def test_parse_refuses_what_is_not_a_ref(text: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        AdapterRef.parse(text)
    assert caught.value.subject is not None


def test_the_message_quotes_the_rule_and_the_part_that_breaks_it() -> None:
    with pytest.raises(InvalidNameError, match=r"owner is 1 to 96 ASCII letters.*not 'al ice'"):
        AdapterRef.parse("al ice/sst2")


@given(st.text())
def test_parse_raises_nothing_but_invalid_name(text: str) -> None:
    try:
        ref = AdapterRef.parse(text)
    except InvalidNameError:
        return
    assert set(text) <= set(string.ascii_letters + string.digits + "-_./@")
    assert str(ref) == text


def test_a_ref_cannot_have_a_version_and_an_alias() -> None:
    with pytest.raises(InvalidNameError, match="not both: 3 and 'best'"):
        AdapterRef(None, "sst2", version=3, alias="best")


@pytest.mark.parametrize(
    ("one", "other"),
    [("My-Adapter", "my_adapter"), ("a.b", "A--b"), ("a-_.b", "a-b"), ("O/a_b@3", "o/A.b@best")],
)
def test_case_and_separators_do_not_tell_adapters_apart(one: str, other: str) -> None:
    assert AdapterRef.parse(one).folded == AdapterRef.parse(other).folded


@pytest.mark.parametrize(
    ("one", "other"), [("ab", "a-b"), ("a/b", "a-b"), ("a/b", "b"), ("a", "b")]
)
def test_other_differences_do(one: str, other: str) -> None:
    assert AdapterRef.parse(one).folded != AdapterRef.parse(other).folded


@given(refs)
def test_folding_again_changes_nothing(ref: AdapterRef) -> None:
    assert re.fullmatch(r"[a-z0-9/-]+", ref.folded)
    assert AdapterRef.parse(ref.folded).folded == ref.folded


@given(names, names)
def test_an_owner_has_the_key_that_starts_those_of_its_adapters(owner: str, name: str) -> None:
    assert AdapterRef(owner, name).folded.startswith(f"{fold_owner(owner)}/")


def test_a_name_that_no_owner_can_have_has_no_key() -> None:
    with pytest.raises(InvalidNameError, match="An adapter's owner is"):
        fold_owner("no one")


def test_repository_and_at_change_only_the_selector() -> None:
    ref = AdapterRef.parse("alice/sst2@best")
    assert str(ref.repository) == "alice/sst2"
    assert str(ref.at(4)) == "alice/sst2@4"
