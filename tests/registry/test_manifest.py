import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from registry import Manifest
from registry.errors import ManifestError
from registry.manifest import MAX_BYTES, BaseModelInfo, manifest_errors

lines = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r")
words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(lines, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
manifests = st.builds(
    Manifest.model_validate,
    st.fixed_dictionaries(
        {
            "kind": st.just("adapter"),
            "method": st.fixed_dictionaries(
                {"type": words, "parameters": st.dictionaries(words, json_values, max_size=3)}
            ),
            "base_model": st.fixed_dictionaries(
                {
                    "id": words,
                    "revision": st.none() | words,
                    "architecture": words,
                    "hidden_size": st.integers(1, 2**20),
                    "num_layers": st.integers(1, 200),
                    "fingerprint": st.none() | digests,
                    "dtype": st.none() | words,
                    "rounded": st.dictionaries(words, digests, max_size=2),
                    "tokenizer_digest": st.none() | digests,
                    "parts": st.dictionaries(words, digests, max_size=2),
                }
            ),
            "problem_type": st.none() | st.just("regression"),
            "head": st.none() | st.fixed_dictionaries({"modules": st.lists(words, max_size=2)}),
            "text": st.none()
            | st.fixed_dictionaries(
                {
                    "max_length": st.none() | st.integers(1, 9000),
                    "truncation_side": st.sampled_from([None, "left", "right"]),
                    "stride": st.none() | st.integers(0, 100),
                    "pair": st.sampled_from([None, "only_first", "only_second", "longest_first"]),
                    "target_max_length": st.none() | st.integers(1, 9000),
                    "no_answer": st.none() | st.booleans(),
                    "separator": st.sampled_from([None, "", "\n", "[SEP]"]),
                    "target_language": st.none() | words,
                }
            ),
            "labels": st.lists(words, unique=True, max_size=4),
            "description": st.text(lines, max_size=40),
            "metrics": st.lists(
                st.fixed_dictionaries(
                    {
                        "dataset": words,
                        "split": words,
                        "name": words,
                        "value": st.floats(allow_nan=False, allow_infinity=False),
                        "higher_is_better": st.booleans(),
                    }
                ),
                max_size=2,
            ),
            "files": st.dictionaries(
                st.from_regex(r"[a-z]{1,8}\.json", fullmatch=True),
                st.fixed_dictionaries({"sha256": digests, "size": st.integers(0, 2**40)}),
                max_size=3,
            ),
        }
    ),
)


def content(**fields: Any) -> dict[str, Any]:
    """Return a valid manifest as plain JSON data, with fields replaced."""
    return {
        "schema": 1,
        "kind": "adapter",
        "method": {"type": "lora", "parameters": {"r": 8}},
        "base_model": {
            "id": "bert",
            "architecture": "BertModel",
            "hidden_size": 768,
            "num_layers": 12,
        },
    } | fields


def read(**fields: Any) -> Manifest:
    return Manifest.from_json(json.dumps(content(**fields)).encode(), "x/hubkit.json")


@given(manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    written = manifest.to_json()
    again = Manifest.from_json(written, "hubkit.json")
    assert again == manifest
    assert again.to_json() == written
    assert again.digest == hashlib.sha256(written).hexdigest()


@given(manifests)
def test_the_bytes_are_canonical_json(manifest: Manifest) -> None:
    plain = json.loads(manifest.to_json())
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert manifest.to_json() == canonical.encode()


def test_the_bytes_of_schema_1_do_not_change() -> None:
    # A changed byte here changes the digest of every version ever published.
    assert read(task="sentiment", labels=["neg", "pos"]).to_json() == (
        b'{"base_model":{"architecture":"BertModel","fingerprint":null,"hidden_size":768,'
        b'"id":"bert","num_layers":12,"revision":null},"description":"","files":{},'
        b'"kind":"adapter","labels":["neg","pos"],"language":null,"license":null,'
        b'"method":{"parameters":{"r":8},"type":"lora"},"metrics":[],"parents":[],"schema":1,'
        b'"tags":[],"task":"sentiment","task_type":null,"training":null}'
    )


def test_a_manifest_of_schema_1_keeps_its_bytes_through_changes_that_it_can_say() -> None:
    changed = read(task="sentiment").changed("x", tags=("short",), task=None)
    assert changed.to_json() == read(tags=["short"]).to_json()
    assert changed.schema_version == 1


def test_a_manifest_of_schema_1_that_learns_more_becomes_one_of_schema_2() -> None:
    old = read(task="sentiment")
    base = old.base_model.model_copy(update={"dtype": "bfloat16"})
    for changes in ({"problem_type": "regression"}, {"base_model": base}):
        changed = old.changed("x", **changes)
        assert json.loads(changed.to_json())["schema"] == 2
        assert changed.task == "sentiment"


def test_a_change_is_checked() -> None:
    with pytest.raises(ManifestError, match=r"the new one is not.*\n  problem_type: .*found 'odd'"):
        read().changed("the new one", problem_type="odd")


def test_what_is_new_is_written_by_schema_2_only() -> None:
    new = {"problem_type", "outputs", "head", "text"}
    new_of_base = {"dtype", "rounded", "config", "config_digest", "tokenizer_digest", "parts"}
    one, two = (json.loads(read(schema=schema).to_json()) for schema in (1, 2))
    assert two.keys() - one.keys() == new
    assert two["base_model"].keys() - one["base_model"].keys() == new_of_base


def test_what_came_later_to_schema_2_is_not_written_where_it_has_no_value() -> None:
    text = {"max_length": 8, "truncation_side": None, "padding_side": "left", "stride": None}
    before = json.loads(read(schema=2, text={**text, "pair": None}).to_json())
    assert before["text"] == {**text, "pair": None}
    after = json.loads(read(schema=2, text={**text, "separator": "\n"}).to_json())
    assert after["text"] == {**text, "pair": None, "separator": "\n"}


def test_a_digest_of_a_configuration_is_held_to_it() -> None:
    config = {"layers": 2, "eps": 1e-12, "text.act": "gelu"}
    canonical = b'{"eps":1e-12,"layers":2,"text.act":"gelu"}'
    digest = hashlib.sha256(canonical).hexdigest()
    base = {"id": "b", "config": config, "config_digest": digest}
    assert read(schema=2, base_model=base).base_model.config == config
    with pytest.raises(ManifestError, match=f"config_digest is not .*expected {digest}"):
        read(schema=2, base_model=base | {"config_digest": "0" * 64})


def test_the_spelling_of_the_json_does_not_change_the_digest() -> None:
    plain = content(tags=["ü"])
    pretty = json.dumps(dict(reversed(plain.items())), indent=4).encode()
    assert Manifest.from_json(pretty, "hubkit.json").digest == read(tags=["ü"]).digest


def test_all_labels_that_fit_are_read_at_once() -> None:
    # Each of them compared with each would take hours.
    labels = [f"{number}" for number in range(400_000)]
    assert read(labels=labels, outputs=None).labels == tuple(labels)


@pytest.mark.parametrize("field", ["labels", "tags", "metrics", "parents"])
def test_of_many_wrong_values_the_first_is_told(field: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(**{field: [0] * 10})
    assert f"{field}.0: " in str(caught.value)
    assert f"{field}.1: " not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "head"}, r"kind: .*'adapter', 'fusion', 'stack' or 'mix'; found 'head'"),
        ({"colour": "red"}, r"colour: Extra inputs are not permitted; found 'red'"),
        ({"task": ""}, r"task: .*at least 1 character; found ''"),
        ({"task": "a\nb"}, r"task: .*without control characters or line breaks"),
        ({"labels": ["a", "b", "a"]}, r"labels: .*found a more than once"),
        ({"base_model": {}}, r"base_model\.id: Field required"),
        ({"description": "x" * 65537}, r"description: .*at most 65536 characters"),
        ({"description": "a\0b"}, r"description: .*found '\\x00' as character 2"),
        ({"method": {"type": "x", "parameters": {"a": {"\x1b": 1}}}}, r"parameters.*found '\\x1b'"),
        ({"kind": "fusion"}, r"a fusion needs parents"),
        ({"parents": [{"ref": "a b", "digest": "0" * 64}]}, r"parents\.0\.ref: .*not 'a b'"),
        ({"parents": [{"ref": "a", "digest": "0"}]}, r"parents\.0\.digest: .*hexadecimal digits"),
        ({"files": {"../a": {"sha256": "0" * 64, "size": 1}}}, r"files.*has the part '\.\.'"),
        ({"files": {"a": {"sha256": "0" * 64, "size": -1}}}, r"files\.a\.size: .*found -1"),
        ({"files": {"a": {"sha256": "0" * 64, "size": "1"}}}, r"files\.a\.size: .*found '1'"),
        ({"schema": "1"}, r"schema: .*valid integer; found '1'"),
        ({"outputs": 2}, r"schema 1 does not have outputs"),
        ({"base_model": {"id": "b", "dtype": "f"}}, r"schema 1 does not have base_model\.dtype"),
        ({"schema": 2, "outputs": 2, "labels": ["a"]}, r"2 outputs, but 1 labels"),
        ({"schema": 2, "text": {"stride": -1}}, r"text\.stride: .*found -1"),
        ({"schema": 2, "head": {}}, r"head\.modules: Field required"),
    ],
)
def test_a_bad_field_is_named_with_what_was_found(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read(**fields)
    assert str(caught.value).startswith("x/hubkit.json is not a manifest that hubkit reads:")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    parameters = json.dumps(content()).replace('"r": 8', f'"r": {number}')
    with pytest.raises(ManifestError):
        Manifest.from_json(parameters.encode(), "hubkit.json")


@pytest.mark.parametrize(
    ("one", "other"), [("a", "A"), ("a/b", "A/B"), ("é", "e\u0301"), ("a", "a/b"), ("A", "a/b/c")]
)
def test_paths_that_would_meet_on_some_file_system_are_refused(one: str, other: str) -> None:
    info = {"sha256": "0" * 64, "size": 1}
    with pytest.raises(ManifestError, match="cannot lie in one folder on every system"):
        read(files={one: info, other: info})


def test_a_newer_schema_says_to_upgrade() -> None:
    with pytest.raises(
        ManifestError, match=r"schema 3, but this hubkit reads schemas 1 to 2\. Upg"
    ):
        read(schema=3, invented_later=True)


def test_a_manifest_too_large_or_too_deep_is_refused() -> None:
    with pytest.raises(ManifestError, match=f"at most {MAX_BYTES} bytes"):
        Manifest.from_json(b" " * (MAX_BYTES + 1), "hubkit.json")
    deep: list[Any] = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(ManifestError, match="at most 16 nested levels"):
        read(method={"type": "x", "parameters": {"deep": deep}})
    with pytest.raises(ManifestError):
        Manifest.from_json(b"[" * 100_000, "hubkit.json")


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema":1}', b"\xef\xbb\xbf{}"]
)
def test_what_is_no_manifest_is_a_manifest_error(junk: bytes) -> None:
    with pytest.raises(ManifestError, match=r"hubkit\.json"):
        Manifest.from_json(junk, "hubkit.json")


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_manifest_error(junk: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(junk, "hubkit.json")


@given(st.sampled_from(sorted(content())), json_values)
def test_random_fields_raise_nothing_but_manifest_error(field: str, value: object) -> None:
    with suppress(ManifestError):
        read(**{field: value})


def test_a_manifest_cannot_be_changed(make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_manifest().task = "other"


def test_errors_of_building_a_manifest_become_one_manifest_error() -> None:
    with (
        pytest.raises(ManifestError, match=r"(?s)the new adapter is not.*kind.*method.*base_model"),
        manifest_errors("the new adapter"),
    ):
        Manifest.model_validate({})


@pytest.mark.parametrize(
    ("known", "shape"),
    [
        (
            {"architecture": "BertModel", "num_layers": 2, "hidden_size": 32},
            "BertModel, 2 layers of 32",
        ),
        ({"num_layers": 2}, "2 layers"),
        ({"hidden_size": 32}, "width of 32"),
        ({"architecture": "BertModel", "hidden_size": 32}, "BertModel, width of 32"),
        ({"architecture": "BertModel"}, "BertModel"),
        ({}, ""),
    ],
)
def test_the_shape_of_a_base_model_is_told_as_far_as_it_is_known(
    known: dict[str, Any], shape: str
) -> None:
    assert BaseModelInfo(id="team/tiny-bert", **known).shape == shape
