"""Train, publish, find, fuse and run adapters for frozen transformers models.

Names are loaded when they are first used: ``import hubkit`` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from registry import HubkitError
except ImportError as error:
    import registry

    # A generic name: something else that is called so may come first on the path.
    raise ImportError(
        f"hubkit needs the package 'registry' that is installed with it, but found {registry}. "
        "Rename that module, or run Python from another folder."
    ) from error

from registry.catalog.origins import Origin, add_origin_kind

if TYPE_CHECKING:
    from hubkit.adapters.adapter import Adapter
    from hubkit.adapters.average import average
    from hubkit.adapters.fusion import Fusion
    from hubkit.adapters.load import load_composition
    from hubkit.adapters.mix import LearnedMix, collapse
    from hubkit.composition import Batch, Fuse, Mix, Parallel, Stack
    from hubkit.exporting.export_onnx import export_onnx
    from hubkit.inference import AdaptedModel, load
    from hubkit.models.attach import Attached, attach
    from hubkit.models.attention import TokenAttention, mean_attention
    from hubkit.models.flexible_head import with_flexible_head
    from hubkit.models.freeze import train_only
    from hubkit.models.head import set_head
    from hubkit.models.insert import insert_adapter, save_adapter
    from hubkit.models.merge import Merged, merge
    from hubkit.nn.layout import Layout, SubBlock, register_layout
    from hubkit.notation import parse
    from hubkit.predicting.many import load_many
    from hubkit.tasks.feature_extraction import similarity
    from hubkit.tasks.task import Prediction
    from registry import AdapterRef

__all__ = [
    "AdaptedModel",
    "Adapter",
    "AdapterRef",
    "Attached",
    "Batch",
    "Fuse",
    "Fusion",
    "HubkitError",
    "Layout",
    "LearnedMix",
    "Merged",
    "Mix",
    "Parallel",
    "Prediction",
    "Stack",
    "SubBlock",
    "TokenAttention",
    "attach",
    "average",
    "collapse",
    "export_onnx",
    "insert_adapter",
    "load",
    "load_composition",
    "load_many",
    "mean_attention",
    "merge",
    "parse",
    "register_layout",
    "save_adapter",
    "set_head",
    "similarity",
    "train_only",
    "with_flexible_head",
]

_HOMES = {
    "AdaptedModel": "hubkit.inference",
    "Adapter": "hubkit.adapters.adapter",
    "AdapterRef": "registry",
    "Attached": "hubkit.models.attach",
    "Batch": "hubkit.composition",
    "Fuse": "hubkit.composition",
    "Fusion": "hubkit.adapters.fusion",
    "Layout": "hubkit.nn.layout",
    "LearnedMix": "hubkit.adapters.mix",
    "Merged": "hubkit.models.merge",
    "Mix": "hubkit.composition",
    "Parallel": "hubkit.composition",
    "Prediction": "hubkit.tasks.task",
    "Stack": "hubkit.composition",
    "SubBlock": "hubkit.nn.layout",
    "TokenAttention": "hubkit.models.attention",
    "attach": "hubkit.models.attach",
    "average": "hubkit.adapters.average",
    "collapse": "hubkit.adapters.mix",
    "export_onnx": "hubkit.exporting.export_onnx",
    "insert_adapter": "hubkit.models.insert",
    "load": "hubkit.inference",
    "load_composition": "hubkit.adapters.load",
    "load_many": "hubkit.predicting.many",
    "mean_attention": "hubkit.models.attention",
    "merge": "hubkit.models.merge",
    "parse": "hubkit.notation",
    "register_layout": "hubkit.nn.layout",
    "save_adapter": "hubkit.models.insert",
    "set_head": "hubkit.models.head",
    "similarity": "hubkit.tasks.feature_extraction",
    "train_only": "hubkit.models.freeze",
    "with_flexible_head": "hubkit.models.flexible_head",
}


def _open_hub(location: str) -> Origin:
    from hubkit.sharing.origin import HubOrigin

    return HubOrigin(location)


add_origin_kind("https", _open_hub)
add_origin_kind("http", _open_hub)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hubkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
