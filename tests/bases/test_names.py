import pytest

from hubkit.bases.names import short_name


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("bert-base-uncased", "bert-base-uncased"),
        ("team/tiny-bert", "tiny-bert"),
        ("/srv/models/tiny-bert/", "tiny-bert"),
        ("/srv/tiny-bert/model", "tiny-bert/model"),
        ("/model", "model"),
        ("model", "model"),
        ("/", "/"),
    ],
)
def test_the_short_name_of_a_base_model_is_its_last_part_that_says_something(
    base: str, name: str
) -> None:
    assert short_name(base) == name
