"""The device and the dtype of a model."""

from __future__ import annotations

import torch

from registry.errors import UnsupportedModelError, did_you_mean

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The dtypes that a base model can be run in, by name."""


def device_of(name: str | torch.device | None) -> torch.device:
    """A device of this machine.

    Args:
        name: As torch calls it, such as ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; default: the
            first CUDA GPU where there is one, else the processor.

    Raises:
        UnsupportedModelError: There is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            here.append("mps")
        raise UnsupportedModelError(
            f"There is no device {str(name)!r} to compute on; this machine has {', '.join(here)}.",
            str(name),
            given=str(name),
            found=here,
        ) from error
    return device


def dtype_of(name: str | torch.dtype) -> torch.dtype:
    """A dtype by its name.

    Raises:
        UnsupportedModelError: It is not in `DTYPES`.
    """
    text = str(name).removeprefix("torch.")
    if text not in DTYPES:
        raise UnsupportedModelError(
            f"A base model is run in {', '.join(DTYPES)}, not in {text!r}."
            f"{did_you_mean(text, DTYPES)}",
            text,
            given=text,
            expected=list(DTYPES),
        )
    return DTYPES[text]
