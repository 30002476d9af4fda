"""Packed transitions for torch: checks, and splitting into fields."""

import torch
from torch import Tensor

from graspfleet.common.specs import EnvSpec, Records

FIELDS = ("obs", "next_obs", "action", "reward", "discount")


def require_batches(batches: Records, spec: EnvSpec, shape: tuple[int, int] | None = None) -> None:
    """Require batches [K, B] of a spec's transitions.

    Args:
        batches: array to check.
        spec: defines the dtype.
        shape: required [K, B]; None for any.

    Raises:
        ValueError: the dtype or the shape differs.
    """
    fits = batches.ndim == 2 and batches.size and shape in (None, batches.shape)
    if batches.dtype != spec.sample or not fits:
        raise ValueError(
            f"expected {shape or '[K, B]'} of {spec.sample}, not {list(batches.shape)} of {batches.dtype}"
        )


def unpack(packed: Tensor, spec: EnvSpec) -> dict[str, Tensor]:
    """Return the fields of a batch [B, bytes of a sample] as views.

    `truncated` is omitted, as no loss depends on it.
    """
    record = spec.sample
    words = packed.view(torch.float32)
    assert record.fields is not None
    fields = {}
    for name in FIELDS:
        kind, start = record.fields[name][0], record.fields[name][1] // 4
        column = words[:, start : start + kind.itemsize // 4]
        fields[name] = column if kind.shape else column[:, 0]
    fields["terminated"] = packed[:, record.fields["terminated"][1]].bool()
    for name in ("pixels", "next_pixels") if spec.images else ():
        start = record.fields[name][1]
        fields[name] = packed[:, start : start + spec.frame_bytes]
    return fields
