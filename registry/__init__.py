"""A registry of adapters: names, versions, bytes and lineage. Loads no torch.

Start with `open_catalog`; `registry.search.search.search` finds what is in it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from registry.errors import HubkitError
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog
    from registry.folders import Folder, read_folder, write_manifest
    from registry.home import default_home, open_catalog
    from registry.manifest import BaseModelInfo, Manifest, Method, Metric, Parent, Training
    from registry.search.search import Page
    from registry.storage.files import FileInfo
    from registry.tables.lineage import Lineage, ParentLink
    from registry.tables.measurements import Measurement
    from registry.tables.versions import Version

__all__ = [
    "AdapterRef",
    "BaseModelInfo",
    "Catalog",
    "FileInfo",
    "Folder",
    "HubkitError",
    "Lineage",
    "Manifest",
    "Measurement",
    "Method",
    "Metric",
    "Page",
    "Parent",
    "ParentLink",
    "Training",
    "Version",
    "default_home",
    "open_catalog",
    "read_folder",
    "write_manifest",
]

# pydantic and SQLAlchemy take a third of a second to load, which a command that only prints its
# help should not pay: these come when they are first asked for.
_LAZY = {
    "BaseModelInfo": "manifest",
    "Catalog": "catalog.catalog",
    "FileInfo": "storage.files",
    "Folder": "folders",
    "Lineage": "tables.lineage",
    "Manifest": "manifest",
    "Measurement": "tables.measurements",
    "Method": "manifest",
    "Metric": "manifest",
    "Page": "search.search",
    "Parent": "manifest",
    "ParentLink": "tables.lineage",
    "Training": "manifest",
    "Version": "tables.versions",
    "default_home": "home",
    "open_catalog": "home",
    "read_folder": "folders",
    "write_manifest": "folders",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
