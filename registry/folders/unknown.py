"""What to tell someone whose folder hubkit does not read."""

import json
from pathlib import Path

_SHOWN = 8


def describe(path: Path) -> str:
    """Return a sentence that says what a folder without a manifest seems to be."""
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "It is empty."
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"It {_guess(path, set(names))} (it holds {listed})."


def _guess(path: Path, names: set[str]) -> str:
    if "adapter_fusion_config.json" in names:
        return "looks like a fusion of the AdapterHub library"
    if "adapter_config.json" in names:
        try:
            config = json.loads((path / "adapter_config.json").read_bytes())
        except ValueError:
            return "has an adapter_config.json that is not JSON"
        if isinstance(config, dict) and "peft_type" in config:
            return "looks like a PEFT adapter"
        return "looks like an adapter of the AdapterHub library"
    if "config.json" in names:
        return "looks like a whole model, not an adapter"
    return "looks like neither a PEFT nor an AdapterHub folder"
