"""Pulling repositories that hubkit never saw."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from registry import Catalog
from registry.origins import pulled_from
from tests.support.foreign import BASE, BERT, PEFT
from tests.support.hub import Hub
from tests.support.roundtrip import LORA, WEIGHTS, pull


@pytest.mark.parametrize("lfs", [False, True])
def test_a_plain_peft_repository_is_registered_too(catalog: Catalog, hub: Hub, lfs: bool) -> None:
    card = b"---\nbase_model: tiny-bert\nlicense: mit\nlibrary_name: peft\n---\n# A card\n"
    repo = hub.create("bob/film", {**LORA, "README.md": card, "training_args.bin": b"code"})
    repo.lfs = {WEIGHTS} if lfs else set()
    here = pull(catalog, hub, "bob/film")
    assert (str(here.ref), here.method, here.license) == ("bob/film@1", "lora", "mit")
    assert (here.base_model, here.base_fingerprint) == ("tiny-bert", None)
    written = catalog.folder(here)
    assert {path.name for path in written.iterdir()} == {*LORA, "README.md", "hubkit.json"}
    assert (written / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert pulled_from(catalog, here) == [f"{hub.url}/bob/film@{repo.branches['main']}"]
    assert not any("training_args" in path for _, _, path in hub.requests)


def test_a_plain_adapterhub_repository_is_converted(catalog: Catalog, hub: Hub) -> None:
    folder = BERT / "seq_bn" / "a"
    hub.create("bob/film", {path.name: path.read_bytes() for path in folder.iterdir()})
    here = pull(catalog, hub, "bob/film", base=str(BASE))
    assert here.base_fingerprint is not None
    assert set(catalog.manifest(here).files) == {"adapter_config.json", "adapter.safetensors"}


def test_what_the_stock_client_pushed_is_pulled(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    api = HfApi(endpoint=hub.url, token="ada-writes")
    api.create_repo("ada/film")
    api.upload_folder(repo_id="ada/film", folder_path=PEFT / "seq_cls" / "a")
    assert pull(catalog, hub, "ada/film").task_type == "text-classification"
