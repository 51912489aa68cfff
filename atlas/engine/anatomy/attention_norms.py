"""What the norms that follow attention do besides standardising: the scale and the offset of each number of the stream.

With them, and the size that a norm divided by in one run, what each head wrote can be followed through the norm.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from atlas.engine.anatomy.records import Anatomy, Tap

ROLES = ("attention_norm", "attention_post_norm", "cross_norm", "cross_post_norm")
"""Norms after the addition (post-norm models) or before the block (the others); `post`: between the block and the addition."""

NORM_ARRAYS = tuple(f"{role}_{part}" for role in ROLES for part in ("scale", "offset"))

PROBE = 64.0
"""Size of the numbers a norm is probed with: so large that the small number it adds to its divisor has no effect."""


def attention_norms(hf: PreTrainedModel, anatomy: Anatomy) -> dict[str, dict[tuple[str, int], torch.Tensor]]:
    """(d_model,) scale and offset of every norm of `ROLES`, by name and layer.

    They are found by running the norm on numbers of equal size and alternating sign, which standardising turns into 1 and -1,
    because norms keep their scale in different ways: Gemma adds 1 to its weight.
    """
    found: dict[str, dict[tuple[str, int], torch.Tensor]] = {}
    for role, tap in _norms(anatomy):
        norm = hf.get_submodule(tap.module)
        weight = next(norm.parameters(), next(hf.parameters()))
        signs = torch.ones(anatomy.widths[tap.kind], dtype=weight.dtype, device=weight.device)
        signs[1::2] = -1
        with torch.no_grad():
            plus, minus = norm(signs * PROBE).float(), norm(-signs * PROBE).float()
        found.setdefault(f"{role}_scale", {})[tap.kind, tap.layer] = (plus - minus) / 2 * signs.float()
        found.setdefault(f"{role}_offset", {})[tap.kind, tap.layer] = (plus + minus) / 2
    return found


def norm_numbers(anatomy: Anatomy) -> int:
    """How many numbers `attention_norms` gives, for estimates of memory."""
    return sum(2 * anatomy.widths[tap.kind] for _, tap in _norms(anatomy))


def _norms(anatomy: Anatomy) -> Iterator[tuple[str, Tap]]:
    """The norms of `ROLES`, each with its role. With an odd width the probe's mean would not be 0."""
    for tap in anatomy.taps:
        role, output, _ = tap.name.rpartition("_out")
        if output and role in ROLES and anatomy.widths[tap.kind] % 2 == 0:
            yield role, tap
