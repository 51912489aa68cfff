"""What the norms on the way of the stream do besides standardising: the scale and the offset of each number of it.

With them, and the size that a norm divided by in one run, what each part wrote can be followed through the norm.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from atlas.engine.anatomy.probe_recording import is_norm
from atlas.engine.anatomy.records import Anatomy, Tap

ROLES = ("embedding_norm", "attention_norm", "attention_post_norm", "cross_norm", "cross_post_norm", "ffn_norm")
"""The norm of the embeddings; norms after the addition (post-norm models) or before the block (the others); `post`: between the
block and the addition."""

NORM_ARRAYS = tuple(f"{role}_{part}" for role in ROLES for part in ("scale", "offset"))

PROBE = 64.0
"""Size of the numbers a norm is probed with: so large that the small number it adds to its divisor has no effect."""


def stream_norms(hf: PreTrainedModel, anatomy: Anatomy) -> dict[str, dict[tuple[str, int], torch.Tensor]]:
    """(d_model,) scale and offset of every norm of `ROLES`, by name and layer.

    They are found by running the norm on numbers of equal size and alternating sign, which standardising turns into 1 and -1,
    because norms keep their scale in different ways: Gemma adds 1 to its weight.
    """
    found: dict[str, dict[tuple[str, int], torch.Tensor]] = {}
    for role, tap in _norms(anatomy):
        scale, offset, _ = probed(hf.get_submodule(tap.module), _width(anatomy, tap), next(hf.parameters()))
        found.setdefault(f"{role}_scale", {})[tap.kind, tap.layer] = scale
        found.setdefault(f"{role}_offset", {})[tap.kind, tap.layer] = offset
    return found


def all_norms(hf: PreTrainedModel, anatomy: Anatomy) -> dict[tuple[str, str, int], tuple[torch.Tensor, torch.Tensor, bool]]:
    """(role, kind, layer) -> what `probed` says, for every norm that the stream or a block's input passes through."""
    found = {}
    for tap in anatomy.taps:
        role, output, _ = tap.name.rpartition("_norm_out")
        width, module = anatomy.tap_widths.get((tap.kind, tap.name), 1), hf.get_submodule(tap.module)
        if output and width % 2 == 0 and is_norm(module):
            found[f"{role}_norm", tap.kind, tap.layer] = probed(module, width, next(hf.parameters()))
    return found


def probed(norm: torch.nn.Module, width: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """(width,) scale and offset of a norm of an even number of values, and whether it removes their mean."""
    weight = next(norm.parameters(), like)
    signs = torch.ones(width, dtype=weight.dtype, device=weight.device)
    even = signs * PROBE
    signs[1::2] = -1
    with torch.no_grad():
        plus, minus, level = norm(signs * PROBE).float(), norm(-signs * PROBE).float(), norm(even).float()
    scale, offset = (plus - minus) / 2 * signs.float(), (plus + minus) / 2
    # Equal values are standardised to 1 by a norm that keeps the mean, and to 0 by one that removes it.
    return scale, offset, bool((level - offset).abs().sum() < scale.abs().sum() / 2)


def norm_numbers(anatomy: Anatomy) -> int:
    """How many numbers `stream_norms` gives, for estimates of memory."""
    return sum(2 * _width(anatomy, tap) for _, tap in _norms(anatomy))


def _norms(anatomy: Anatomy) -> Iterator[tuple[str, Tap]]:
    """The norms of `ROLES`, each with its role. With an odd width the probe's mean would not be 0."""
    for tap in anatomy.taps:
        role, output, _ = tap.name.rpartition("_out")
        if output and role in ROLES and _width(anatomy, tap) % 2 == 0:
            yield role, tap


def _width(anatomy: Anatomy, tap: Tap) -> int:
    """Numbers of the vectors that a norm is given: ELECTRA's embeddings are narrower than its stream."""
    return anatomy.tap_widths.get((tap.kind, tap.name), anatomy.widths[tap.kind])
