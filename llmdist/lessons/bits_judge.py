"""The judge of lesson 6: the demo model on tales that it was not trained on, with a precision for each block.

It runs the real engine with the real packed weights. Plain blocks and all sums are computed in float32 (the
values of bf16 are kept exactly), so that what is seen is the rounding of weights alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from ..demo import model_path
from ..demo.grammar import Tale
from ..demo.score import END, answer_spans, held_out
from ..errors import PlanError
from ..executor import Executor
from ..executor.weights import read_rows
from ..kernels.tune import one_thread
from ..model.checkpoint import Checkpoint
from ..model.reader import Reader
from ..model.tokenizer import Tokenizer
from ..planner.placement import Assignment, Placement

__all__ = ["PRECISIONS", "Choice", "Judge", "Score", "judge"]

PRECISIONS = ("int4", "int8", "bf16")  # from small to large

Choice = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Score:
    """What a choice takes and how well it tells tales.

    `loss` is the mean of -ln p of the true tokens, in nats per token; `divergence` how far all probabilities are from
    those of bf16 (Kullback-Leibler), in nats per 1000 tokens; `exact` the share of questions answered exactly.
    """

    nbytes: int
    loss: float
    divergence: float
    exact: float


@dataclass
class Judge:
    """Scores choices {block: precision} on fixed tales; blocks that are not named are bf16."""

    checkpoint: Checkpoint
    tokens: list[list[int]]
    answers: list[list[tuple[int, int]]]  # of each tale: from which to which prediction
    _reference: Tensor | None = field(default=None, repr=False)
    _known: dict[tuple[str, ...], Score] = field(default_factory=dict, repr=False)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Return the blocks that own weights: the demo model's embedding reads its rows from the file."""
        return tuple(block.name for block in self.checkpoint.profile.blocks if block.parameters)

    def nbytes(self, choice: Choice) -> int:
        """Return the bytes of all weights."""
        return sum(map(self.block_bytes, self.blocks, self._complete(choice)))

    def block_bytes(self, name: str, precision: str) -> int:
        """Return the bytes of one block, scales included."""
        (block,) = (block for block in self.checkpoint.profile.blocks if block.name == name)
        return block.weight_bytes(precision)

    def everything(self, precision: str) -> dict[str, str]:
        """Return the choice of one precision for every block."""
        return dict.fromkeys(self.blocks, precision)

    def score(self, choice: Choice) -> Score:
        """Run all tales with `choice`; a choice that was scored before is remembered."""
        key = self._complete(choice)
        if key not in self._known:
            self._known[key] = self._scored(choice)
        return self._known[key]

    def _complete(self, choice: Choice) -> tuple[str, ...]:
        """Return the precision of every block, after checking that the names are right."""
        for name, precision in choice.items():
            if name not in self.blocks:
                raise PlanError(f"{name!r} is no block with weights: they are {', '.join(self.blocks)}.")
            if precision not in PRECISIONS:
                raise PlanError(f"{precision!r} for {name} is no precision here: use {', '.join(PRECISIONS)}.")
        return tuple(choice.get(name, "bf16") for name in self.blocks)

    def _scored(self, choice: Choice) -> Score:
        logits = self._logits(choice)
        shares = functional.log_softmax(logits, -1)
        truth = torch.tensor([token for tale in self.tokens for token in tale[1:]])
        divergence = functional.kl_div(shares, self.reference, log_target=True, reduction="batchmean")
        hits = (logits.argmax(-1) == truth).split([len(tale) - 1 for tale in self.tokens])
        right = [bool(hit[a:b].all()) for hit, spans in zip(hits, self.answers, strict=True) for a, b in spans]
        loss = float(functional.nll_loss(shares, truth))
        return Score(self.nbytes(choice), loss, max(0.0, 1e3 * float(divergence)), sum(right) / len(right))

    @property
    def reference(self) -> Tensor:
        """Return the log probabilities of bf16, (predictions, vocab_size)."""
        if self._reference is None:
            self._reference = functional.log_softmax(self._logits({}), -1)
        return self._reference

    def of(self, checkpoint: Checkpoint) -> Judge:
        """Return a judge of another copy of the model, against the reference of this one."""
        return Judge(checkpoint, self.tokens, self.answers, self.reference)

    def _logits(self, choice: Choice) -> Tensor:
        """Return what predicts each token after the first of every tale, float64."""
        wide = {"embed": "fp32"} | dict(zip(self.blocks, self._complete(choice), strict=True))
        names = tuple(block.name for block in self.checkpoint.profile.blocks)
        stored = ("fp32" if wide[name] == "bf16" else wide[name] for name in names)
        placement = Placement(names, tuple(Assignment("cpu", "cpu", precision) for precision in stored))
        executor = Executor(self.checkpoint, placement, max(map(len, self.tokens)))
        try:
            with one_thread():
                passes = [executor.run([tale[:-1]], [0], keep=len(tale) - 1).logits for tale in self.tokens]
        finally:
            executor.close()
        return torch.cat(passes).double()

    def weights(self, block: str, name: str) -> Tensor:
        """Return one matrix of `block`, float32, as the file has it."""
        entry, reader = self.checkpoint.block_tensors(block)[name], Reader(depth=1)
        try:
            return read_rows(entry, torch.arange(entry.shape[0]), torch.float32, reader)
        finally:
            reader.close()


def judge(tales: int = 12) -> Judge:
    """Return a judge of the demo model on `tales` tales that were not in its training."""
    folder = model_path()
    run = json.loads((folder / "training.json").read_text())
    tokenizer = Tokenizer.open(folder)
    texts = held_out(tales, run["seed"], run["steps"])
    tokens = [tokenizer.encode(END + tale.text) for tale in texts]
    return Judge(Checkpoint.open(folder), tokens, [_answers(tokenizer, tale) for tale in texts])


def _answers(tokenizer: Tokenizer, tale: Tale) -> list[tuple[int, int]]:
    """Return which predictions make up each answer of `tale`."""

    def before(at: int) -> int:
        return len(tokenizer.encode(END + tale.text[:at])) - 1

    return [(before(begin), before(end)) for begin, end in answer_spans(tale)]
