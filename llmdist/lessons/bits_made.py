"""Lesson 6, beyond what llmdist stores: a copy of the demo model whose matrices are rounded to 3, 2 or 1 bits.

The copy holds the rounded numbers in float32, so its bytes are made up: what they would be if they were packed.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..model.checkpoint import Checkpoint
from .bits_judge import Judge, Score

__all__ = ["made_score", "rounded"]


def rounded(weight: Tensor, bits: int, group: int = 32) -> Tensor:
    """Return `weight` (rows, columns) rounded as int4 is, but to `bits`: the largest of a group takes the end code."""
    rows, columns = weight.shape
    padded = torch.zeros(rows, -(-columns // group) * group)
    padded[:, :columns] = weight
    grouped, end = padded.view(rows, -1, group), 2 ** (bits - 1)
    scale = (grouped.gather(2, grouped.abs().argmax(2, keepdim=True)) / -end).half().float()
    codes = (grouped * torch.where(scale == 0, 0.0, 1 / scale)).round().clamp(-end, end - 1)
    made: Tensor = (codes * scale).flatten(1)[:, :columns].contiguous()
    return made


def made_score(judge: Judge, bits: int) -> Score:
    """Return the score of all matrices at `bits`, with the bytes that they would take (scales included)."""
    source = judge.checkpoint.folder
    weights = {name: w.float() for name, w in load_file(source / "model.safetensors").items()}
    made = {name: rounded(w, bits) if w.ndim == 2 else w for name, w in weights.items()}
    with TemporaryDirectory() as folder:
        for file in source.glob("*.json"):
            shutil.copy(file, folder)
        save_file(made, Path(folder) / "model.safetensors")
        score = judge.of(Checkpoint.open(Path(folder))).score({})
    nbytes = sum(w.numel() * (bits + 16 / 32) / 8 if w.ndim == 2 else 4 * w.numel() for w in weights.values())
    return replace(score, nbytes=round(nbytes))
