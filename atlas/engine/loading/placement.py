"""The device a model runs on, and its number format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.errors import TooLarge, UnknownName

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16", "float64")


def as_device(device: str | torch.device | None) -> torch.device:
    """Return the requested device, by default the first CUDA GPU, else the CPU; refuse one that does not exist.

    An Apple GPU ('mps') is used only when named, because PyTorch's MPS backend has silently given wrong results (PyTorch issue
    174861). A model on it is compared with the CPU when it is loaded (`verify.check_against_cpu`).
    """
    import torch

    here = ["cpu"]
    if torch.cuda.is_available():
        here = [*(f"cuda:{index}" for index in range(torch.cuda.device_count())), *here]
    if device is None:
        return torch.device(here[0])
    if torch.backends.mps.is_available():
        here.append("mps")
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        asked = None
    # 'cuda' without a number is the current GPU. 'meta' is refused, because its tensors hold no numbers.
    if asked is None or str(asked) not in {*here, *(name.partition(":")[0] for name in here)}:
        msg = f"There is no device {str(device)!r} here; use one of {', '.join(here)}, or leave device out."
        raise UnknownName(msg)
    return asked


def as_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return the requested number format, by default float32."""
    import torch

    legal = {name: getattr(torch, name) for name in DTYPES}
    if dtype is None:
        return torch.float32
    if dtype in legal.values():
        return dtype  # type: ignore[return-value]  # it is one of the torch.dtypes just compared with
    name = str(dtype).removeprefix("torch.")
    if name not in legal:
        msg = f"{dtype!r} is no number format a model can run in; use one of {', '.join(DTYPES)}."
        raise UnknownName(msg)
    return legal[name]


def moved(hf: Any, place: torch.device) -> Any:
    """Move the model to a device; raise with its size if it does not fit."""
    import torch

    try:
        if place.type == "cpu":
            _copy_weights(hf)
        return hf.to(place)
    except (torch.OutOfMemoryError, MemoryError) as error:
        size = sum(p.numel() * p.element_size() for p in hf.parameters()) / 1e9
        msg = f"The model takes {size:.1f} GB, more than is free on {place}. Try another device or half precision."
        raise TooLarge(msg) from error


def _copy_weights(hf: Any) -> None:
    """Copy the weights out of the memory-mapped files.

    Mapped weights change when a newer model is saved in the same folder, and the process dies (SIGBUS) when that file is
    shortened. The copy is also aligned, so that results are identical to those of the model that was saved, bit by bit.
    """
    import torch

    with torch.no_grad():
        for tensor in (*hf.parameters(), *hf.buffers()):
            tensor.data = tensor.data.clone()
