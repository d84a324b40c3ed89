"""Lines of Python that load an adapter with the library whose folder it is in.

Each ``base`` and ``adapter`` is Python: the base model as an argument, and the arguments that name
the adapter, such as ``"owner/name", revision="v1"``.
"""

import json

from registry.task_types import TASK_NAMES


def python_text(value: str) -> str:
    """Return a text as Python has it, which is as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def auto_class(task_type: str | None) -> str:
    """Return the class of transformers that loads a model for a task type."""
    names = TASK_NAMES.get(task_type or "")
    return "AutoModel" if names is None else names.auto_class


def peft_lines(base: str, adapter: str, task_type: str | None, labels: int) -> list[str]:
    """Return how ``peft`` loads an adapter whose head has so many labels; 0: it says none."""
    name, outputs = auto_class(task_type), f", num_labels={labels}" if labels else ""
    return [
        "from peft import PeftModel",
        f"from transformers import {name}",
        "",
        f"model = {name}.from_pretrained({base}{outputs})",
        f"model = PeftModel.from_pretrained(model, {adapter})",
    ]


def adapter_lines(base: str, adapter: str, *, safe: bool = True) -> list[str]:
    """Return how ``adapters`` loads an adapter; `safe`: from a safetensors file."""
    return [*_start(base), f"model.load_adapter({adapter}{_safe(safe)}, set_active=True)"]


def fusion_lines(base: str, adapter: str, *, safe: bool = True) -> list[str]:
    """Return how ``adapters`` loads a fusion; `safe`: from a safetensors file."""
    return [
        "from huggingface_hub import snapshot_download",
        *_start(base),
        "# first load_adapter() what it is made of, under the names in its configuration",
        f"folder = snapshot_download({adapter})",
        f"model.load_adapter_fusion(folder{_safe(safe)})",
    ]


def _start(base: str) -> tuple[str, ...]:
    return (
        "import adapters",
        "from transformers import AutoModel",
        "",
        f"model = AutoModel.from_pretrained({base})",
        "adapters.init(model)",
    )


def _safe(safe: bool) -> str:
    return ", use_safetensors=True" if safe else ""
