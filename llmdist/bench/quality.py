"""What quantisation costs the demo model: exact answers, perplexity, and the KL divergence of its next-token shares.

Every figure is over the same held-out tales, run token by token through the executor, so it judges what a person gets
and not a rounded copy of the weights. bf16 is the reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..demo import model_path
from ..demo.grammar import Tale
from ..demo.score import END, answer_spans, held_out
from ..executor import Executor
from ..model.checkpoint import Checkpoint
from ..model.tokenizer import Tokenizer
from ..planner.placement import Assignment, Placement

__all__ = ["Quality", "quality_report"]


@dataclass(frozen=True, slots=True)
class Quality:
    """`precision` of the weights, and of the KV cache where it differs; `exact_match` is a share of questions.

    `divergence` is the mean KL(bf16 | this) in nats per token.
    """

    precision: str
    questions: int
    exact_match: float
    perplexity: float
    divergence: float


def quality_report(
    precisions: Sequence[str] = ("int8", "int4"), tales: int = 20, caches: Sequence[str] = ("int8",)
) -> list[Quality]:
    """Return the quality of bf16, of each precision and of bf16 with each KV cache on held-out tales."""
    folder = model_path()
    run = json.loads((folder / "training.json").read_text())
    checkpoint, tokenizer = Checkpoint.open(folder), Tokenizer.open(folder)
    texts = held_out(tales, run["seed"], run["steps"])
    reference = [_logits(checkpoint, "bf16", tokenizer.encode(END + tale.text)) for tale in texts]
    found = [_judge("bf16", tokenizer, texts, reference, reference)]
    variants = [(precision, precision, "") for precision in precisions]
    variants += [(f"bf16, KV {kv}", "bf16", kv) for kv in caches]
    for label, precision, kv in variants:
        logits = [_logits(checkpoint, precision, tokenizer.encode(END + tale.text), kv) for tale in texts]
        found.append(_judge(label, tokenizer, texts, logits, reference))
    return found


def _logits(checkpoint: Checkpoint, precision: str, tokens: Sequence[int], kv: str = "") -> Tensor:
    """Return the logits (tokens - 1, vocab_size) that predict each token after the first."""
    names = tuple(block.name for block in checkpoint.profile.blocks)
    placement = Placement(names, tuple(Assignment("cpu", "cpu", precision) for _ in names))
    executor = Executor(checkpoint, placement, len(tokens), kv=kv)
    rows = [executor.forward(torch.tensor([[token]]), i).logits for i, token in enumerate(tokens[:-1])]
    executor.close()
    return torch.cat(rows)


def _judge(
    precision: str, tokenizer: Tokenizer, tales: Sequence[Tale], found: Sequence[Tensor], reference: Sequence[Tensor]
) -> Quality:
    right = asked = tokens = 0
    loss = divergence = 0.0
    for tale, logits, expected in zip(tales, found, reference, strict=True):
        text = END + tale.text
        ids = torch.tensor(tokenizer.encode(text))
        loss += float(functional.cross_entropy(logits, ids[1:], reduction="sum"))
        found_share, expected_share = (functional.log_softmax(x.double(), dim=-1) for x in (logits, expected))
        divergence += float(functional.kl_div(found_share, expected_share, log_target=True, reduction="sum"))
        tokens += len(ids) - 1
        hit = logits.argmax(-1) == ids[1:]
        for span in answer_spans(tale):
            first, last = (len(tokenizer.encode(text[: len(END) + at])) - 1 for at in span)
            right += bool(hit[first:last].all())
            asked += 1
    return Quality(precision, asked, right / asked, math.exp(loss / tokens), divergence / tokens)
