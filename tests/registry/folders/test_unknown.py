from pathlib import Path

import pytest

from registry import FolderError, read_folder


@pytest.mark.parametrize(
    ("files", "guess"),
    [
        ({}, "It is empty"),
        ({"adapter_config.json": '{"peft_type": "LORA"}'}, "looks like a PEFT adapter"),
        ({"adapter_config.json": '{"config": {}}'}, "looks like an adapter of the AdapterHub"),
        ({"adapter_config.json": "{"}, "adapter_config.json that is not JSON"),
        ({"adapter_config.json": "\x00"}, "adapter_config.json that is not JSON"),
        ({"adapter_fusion_config.json": "{}"}, "looks like a fusion of the AdapterHub library"),
        ({"config.json": "{}"}, "looks like a whole model, not an adapter"),
        ({"notes.txt": ""}, r"neither a PEFT nor an AdapterHub folder \(it holds notes.txt\)"),
    ],
)
def test_a_folder_without_manifest_is_described_with_the_cure(
    tmp_path: Path, files: dict[str, str], guess: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(FolderError, match=rf"(?s)no hubkit\.json.*{guess}.*hubkit\.save_adapter"):
        read_folder(tmp_path)


def test_what_is_no_folder_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="found nothing"):
        read_folder(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="found a file"):
        read_folder(tmp_path / "file")
