from __future__ import annotations

from pathlib import Path

import pytest

from hubkit.training.tables.read import read_blocks
from registry.errors import DataError


def test_a_block_comes_before_what_is_wrong_after_it(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,id\na,1\nb,2\nc\n")
    blocks = read_blocks(path, size=2)
    assert next(blocks).columns["text"] == ["a", "b"]
    with pytest.raises(DataError, match="line 4: expected 2 fields"):
        next(blocks)
