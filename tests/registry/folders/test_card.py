import time
from pathlib import Path

import pytest

from registry.errors import FolderError
from registry.folders.card import Card, parse_card, read_card


def write(folder: Path, text: str) -> Path:
    (folder / "README.md").write_text(text)
    return folder


def test_the_fields_of_the_hub_are_read(tmp_path: Path) -> None:
    card = read_card(
        write(
            tmp_path,
            "---\nbase_model: a/b\nlicense: mit\nlanguage:\n- en\n"
            "tags: [x, 'base_model:adapter:/m', y, x]\n"
            "pipeline_tag: text-classification\nextra: 3\n---\n\n# Title\n",
        )
    )
    assert (card.base_models, card.license, card.language) == (("a/b",), "mit", "en")
    assert (card.tags, card.task_type) == (("x", "y"), "text-classification")
    assert card.data["extra"] == 3
    assert card.text == "# Title\n"


def test_several_languages_are_one_code_for_many(tmp_path: Path) -> None:
    assert read_card(write(tmp_path, "---\nlanguage: [en, de]\n---\n")).language == "mul"


@pytest.mark.parametrize("text", ["", "# Title\n", "text\n---\nlicense: mit\n---\n", "---\n"])
def test_a_card_without_fields_says_nothing(tmp_path: Path, text: str) -> None:
    assert read_card(write(tmp_path, text)) == Card(text=text)


def test_no_card_says_nothing(tmp_path: Path) -> None:
    assert read_card(tmp_path) == Card()


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path, newline: str) -> None:
    text = "\ufeff---\nlicense: mit\n---\nText"
    (tmp_path / "README.md").write_bytes(text.replace("\n", newline).encode())
    assert read_card(tmp_path).license == "mit"


def test_values_of_another_kind_are_left_out(tmp_path: Path) -> None:
    card = read_card(
        write(tmp_path, "---\nlicense: 3\ntags: [a, 1, null, {b: c}]\nlanguage: ''\n---\n")
    )
    assert (card.license, card.tags, card.language) == (None, ("a",), None)


def test_what_is_not_utf8_is_named_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\ncaf\xe9")
    with pytest.raises(FolderError, match=r"README\.md is not UTF-8: byte 24 is 0xe9"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system [ls]", "is not YAML"),
        ("- a\n- b", "is a list; expected fields"),
    ],
)
def test_fields_that_are_none_are_refused(tmp_path: Path, fields: str, message: str) -> None:
    with pytest.raises(FolderError, match=message):
        read_card(write(tmp_path, f"---\n{fields}\n---\n"))


MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30)
)

LISTS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
TEXTS = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1_000)}]"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("x:\n" + "- [a, b]\n" * 45_000, "more than 100000 fields and values"),
        ("x: " + "[" * 200_000, "nested more than 64 deep"),
        ("- " * 100_000 + "a", "nested more than 64 deep"),
        ("x: " + "9" * 400_000, "a number of 400000 characters"),
        ("x: " + "1:" * 100_000 + "1", "a number of 200001 characters"),
        ("x: !!int '" + "9" * 100_000 + "'", "a number of 100000 characters"),
        (MERGES, "merges fields with <<"),
        (LISTS, "with its repetitions, it is longer than 8388608 characters"),
        (TEXTS, "with its repetitions, it is longer than 8388608 characters"),
        ("a: &a [*a, *a]", "[*]a is inside its own value"),
    ],
    ids=[
        *("long", "deep", "deep list", "digits", "base 60", "quoted digits", "merges"),
        *("lists again", "texts again", "itself"),
    ],
)
def test_a_card_that_takes_long_to_read_is_refused_at_once(fields: str, problem: str) -> None:
    started = time.process_time()
    with pytest.raises(FolderError, match=problem):
        parse_card(f"---\n{fields}\n---\n", Path("README.md"))
    assert time.process_time() - started < 2


def test_a_card_with_thousands_of_measurements_is_read() -> None:
    results = "".join(
        f"  - {{task: {{type: x}}, metrics: [{{type: accuracy, value: {n}}}]}}\n"
        for n in range(4000)
    )
    digest = "12" * 64  # digits, but a text
    fields = f"license: mit\nsha512: '{digest}'\nmodel-index:\n- name: x\n  results:\n{results}"
    card = parse_card(f"---\n{fields}---\n", Path("README.md"))
    assert card.license == "mit"
    assert card.data["sha512"] == digest
    assert len(card.data["model-index"][0]["results"]) == 4000
