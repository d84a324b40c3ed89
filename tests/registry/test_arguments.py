from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import hubkit
from registry import arguments
from registry.arguments import check_fields, checked
from registry.errors import ArgumentError


@checked
def takes(
    number: int | None = None,
    share: float = 0.5,
    switch: bool = False,
    word: Literal["linear", "cosine"] = "linear",
    path: Path | None = None,
    texts: Iterable[str] = (),
    anything: Iterable[Any] = (),
    rates: float | tuple[float, ...] = 0.1,
    layers: Sequence[int] = (),
    weights: Mapping[str, float] | None = None,
    *more: str,
    **options: Any,
) -> dict[str, Any]:
    return locals()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"number": 2.5}, r"number must be a whole number or None, not 2\.5 \(float\)\."),
        ({"number": "3"}, r"number must be .* not '3' \(str\)"),
        ({"number": True}, r"number must be .* not True \(bool\)"),
        ({"number": float("nan")}, "number must be .* not nan"),
        ({"number": np.array([1, 2])}, "number must be .*ndarray"),
        ({"share": None}, r"share must be a number, not None \(NoneType\)"),
        ({"share": 10**400}, "share must be a number"),
        ({"switch": 1}, r"switch must be True or False, not 1 \(int\)"),
        ({"word": "cosin"}, r"must be 'linear' or 'cosine', not 'cosin' .* Did you mean cosine\?"),
        ({"path": 3}, "path must be a path or None, not 3"),
        ({"texts": "one"}, r"texts must be an iterable, not 'one' \(str\)"),
        ({"texts": ["one", 2]}, r"texts\[1\] must be text, not 2"),
        ({"anything": np.array(3)}, "anything must be an iterable"),
        ({"rates": [0.1, "x"]}, r"rates\[1\] must be a number, not 'x'"),
        ({"rates": "x"}, "rates must be a number or a list, not 'x'"),
        ({"layers": 3}, "layers must be a list, not 3"),
        ({"weights": {"a": "b"}}, r"weights\['a'\] must be a number, not 'b'"),
        ({"weights": "x" * 99}, r"not '[x]{59}\.\.\. \(str\)"),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_expected(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        takes(**given)
    assert caught.value.given is not None or given == {"share": None}


def test_arguments_arrive_as_plain_python_values() -> None:
    found = takes(
        np.int64(3), np.float32(0.5), path="folder", rates=[1, 2], weights={"a": 1}, odd="kept"
    )
    assert (found["number"], found["share"]) == (3, 0.5)
    assert {type(found[name]) for name in ("number", "share")} == {int, float}
    assert found["path"] == Path("folder")
    assert found["rates"] == (1.0, 2.0)
    assert found["options"] == {"odd": "kept"}
    assert type(found["weights"]["a"]) is float


def test_what_can_be_gone_through_once_is_not_used_up() -> None:
    assert [*takes(texts=(text for text in ("a", "b")))["texts"]] == ["a", "b"]
    assert takes(anything="abc")["anything"] == "abc", "the function decides"


def test_each_of_several_arguments_is_checked() -> None:
    with pytest.raises(ArgumentError, match=r"more\[1\] must be text, not 3"):
        takes(None, 0.5, False, "linear", None, (), (), 0.1, (), None, "a", 3)  # type: ignore[arg-type]


def test_a_missing_or_unknown_argument_is_told_by_python() -> None:
    @checked
    def one(number: int) -> int:
        return number

    with pytest.raises(TypeError, match="missing 1 required"):
        one()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'numbr'"):
        one(numbr=3)  # type: ignore[call-arg]


def test_fields_become_what_they_mean() -> None:
    @dataclass(frozen=True)
    class Sizes:
        layers: tuple[int, ...]

        def __post_init__(self) -> None:
            check_fields(self)

    assert Sizes([np.int64(1), 2]).layers == (1, 2)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="layers must be a list, not 'ab'"):
        Sizes("ab")  # type: ignore[arg-type]


def test_the_types_of_every_public_function_can_be_read() -> None:
    for name in hubkit.__all__:
        public = getattr(hubkit, name)
        found = vars(public).values() if inspect.isclass(public) else [public]
        for function in (getattr(one, "__func__", one) for one in found):
            if hasattr(function, "__wrapped__"):
                arguments._hints(inspect.unwrap(function))
