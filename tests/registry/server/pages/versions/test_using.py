from __future__ import annotations

import shlex
from urllib.parse import quote

import pytest

from registry import AdapterRef
from registry.server.hub import Hub
from tests.registry.server.pages.conftest import LORA, Publish, Push, uses
from tests.support.asgi import Ask
from tests.support.foreign import BERT
from tests.support.html import read

pytestmark = pytest.mark.once


def test_a_peft_folder_is_used_with_peft_and_hubkit(asks: Ask, push: Push) -> None:
    push("alice/a", LORA)
    page = read(asks("GET", "/alice/a"))
    lines = uses(page)
    assert [*lines] == [
        "Say where this hub is, before anything else",
        "With hubkit",
        "With peft",
        "Only its files",
    ]
    assert lines["Say where this hub is, before anything else"] == (
        "export HF_ENDPOINT=http://127.0.0.1:8000"
    )
    assert lines["With hubkit"].startswith("hubkit pull alice/a@1 --from http://127.0.0.1:8000")
    assert 'PeftModel.from_pretrained(model, "alice/a")' in lines["With peft"]
    compile(lines["With peft"], "lines", "exec")
    assert lines["Only its files"] == "hf download alice/a"
    older = uses(read(asks("GET", "/alice/a?revision=v1")))
    assert 'from_pretrained(model, "alice/a", revision="v1")' in older["With peft"]
    assert older["Only its files"] == "hf download alice/a --revision v1"


def test_a_fusion_without_its_parts_says_what_is_missing(asks: Ask, push: Push) -> None:
    folder = BERT / "seq_bn" / "fusion_abc"
    push("alice/f", {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()})
    page = read(asks("GET", "/alice/f"))
    assert page.one("p", class_="notice warn").text.startswith("It holds no version.")
    assert "With adapters" in uses(page)


@pytest.mark.parametrize(
    ("files", "title", "line"),
    [
        (
            {"adapter_config.json": b"{}", "adapter.safetensors": b"x"},
            "With adapters",
            'model.load_adapter("alice/a", use_safetensors=True, set_active=True)',
        ),
        (
            {"adapter_config.json": b"{}", "pytorch_adapter.bin": b"x"},
            "With adapters",
            'model.load_adapter("alice/a", set_active=True)',
        ),
        (
            {"adapter_fusion_config.json": b"{}", "model_adapter_fusion.safetensors": b"x"},
            "With adapters",
            "model.load_adapter_fusion(folder, use_safetensors=True)",
        ),
        (
            {"config.json": b"{}", "model.safetensors": b"x"},
            "With transformers",
            'model = AutoModel.from_pretrained("alice/a")',
        ),
        (
            {
                "README.md": b"---\nlibrary_name: sentence-transformers\n---\n",
                "modules.json": b"[]",
            },
            "With sentence-transformers",
            'model = SentenceTransformer("alice/a")',
        ),
    ],
)
def test_a_repository_is_used_with_the_library_that_reads_it(
    asks: Ask, push: Push, files: dict[str, bytes], title: str, line: str
) -> None:
    push("alice/a", files)
    lines = uses(read(asks("GET", "/alice/a")))
    assert [*lines] == ["Say where this hub is, before anything else", title, "Only its files"]
    assert line in lines[title].splitlines()
    compile(lines[title], "lines", "exec")


def test_what_no_library_reads_can_be_downloaded(asks: Ask, push: Push) -> None:
    push("alice/a", {"notes.txt": b"x"})
    assert [*uses(read(asks("GET", "/alice/a")))][1:] == ["Only its files"]


def test_a_private_repository_needs_a_token_in_its_lines(asks: Ask, publish: Publish) -> None:
    publish("alice/a", visibility="private")
    page = read(asks("GET", "/alice/a", by="alice"))
    assert "private" in page.one("h1").text
    first = uses(page)["Say where this hub is, before anything else"]
    assert first.splitlines()[1] == "export HF_TOKEN=hubkit_..."


def test_lines_quote_what_a_shell_or_python_would_take_apart(
    asks: Ask, hub: Hub, push: Push
) -> None:
    push("alice/a", {**LORA, "README.md": b'---\nbase_model: a"b\n---\n'})
    found = hub.history.find("model", AdapterRef.parse("alice/a"))
    assert found is not None
    revision = "$(reboot)'\""
    hub.history.create_branch(found, revision, hub.history.resolve(found, "main"), "alice")
    page = read(asks("GET", f"/alice/a?revision={quote(revision, safe='')}"))
    lines = uses(page)
    assert shlex.split(lines["Only its files"]) == [
        *("hf", "download", "alice/a", "--revision", revision)
    ]
    compile(lines["With peft"], "lines", "exec")
