"""The folders and manifests of the registry's own tests."""

from tests.registry.conftest import make_folder, make_manifest

__all__ = ["make_folder", "make_manifest"]
