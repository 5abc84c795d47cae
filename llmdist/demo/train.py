"""Train the demo model: ``python -m llmdist.demo.train --minutes 60 --seed 0 --out DIR``.

A byte-level BPE and a Llama-shaped model are trained on tales of the grammar alone. A checkpoint that
transformers opens unchanged is written every three minutes and at the end, each time as a whole.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from .grammar import tale

__all__ = ["make_tokenizer", "train"]

END = "<|endoftext|>"
MUON_RATE = 4e-3
ADAMW_RATE = 3e-3
ANSWER_WEIGHT = 4.0


def make_tokenizer(seed: int, vocab_size: int = 768) -> Any:
    """Return a byte-level BPE tokenizer trained on 3,000 tales."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = Random(f"tokenizer {seed}")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((tale(rng).text for _ in range(3000)), trainer)
    return tokenizer


def make_model(vocab_size: int, seed: int) -> Any:
    """Return an untrained Llama of 8 layers and about 2.6 million weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=8,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def batches(tokenizer: Any, seed: int, batch: int, length: int) -> Iterator[Tensor]:
    """Yield (batch, length + 1) int64 token rows; every row begins with a whole tale."""
    rng = Random(f"train {seed}")
    while True:
        rows = []
        for _ in range(batch):
            row: list[int] = []
            while len(row) <= length:
                row += [0, *tokenizer.encode(tale(rng).text).ids]
            rows.append(row[: length + 1])
        yield torch.tensor(rows)


def save(model: Any, tokenizer: Any, out: Path, facts: dict[str, Any]) -> None:
    """Write the checkpoint in bf16 so that a reader never sees half of one."""
    import copy

    part = out.with_name(out.name + ".part")
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(part)
    tokenizer.save(str(part / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "bos_token": END}
    (part / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    (part / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    out.mkdir(parents=True, exist_ok=True)
    for file in part.iterdir():
        os.replace(file, out / file.name)
    part.rmdir()


def answer_weights(rows: Tensor, mark: tuple[int, int], newline: int, weight: float) -> Tensor:
    """Return (batch, length) float32: `weight` where a target token belongs to an answer, 1 elsewhere.

    An answer begins after the two tokens of `mark` and ends with `newline`, which belongs to it.
    Answers are few among the tokens of a tale, and copying them is what arrives last.
    """
    targets = rows[:, 1:]
    place = torch.arange(targets.shape[1]).expand_as(targets)
    marked = (targets == mark[1]) & (rows[:, :-1] == mark[0])
    begin = torch.where(marked, place, -1).cummax(dim=1).values
    line = torch.where(targets == newline, place, -1).cummax(dim=1).values
    before = torch.nn.functional.pad(line[:, :-1], (1, 0), value=-1)
    return torch.where((begin > before) & (place > begin), weight, 1.0)


def train(
    out: Path, minutes: float, seed: int, batch: int = 8, length: int = 160, report: int = 50, steps: int = 0
) -> list[float]:
    """Train for `minutes` of wall-clock time and return the loss of every step (nats per token).

    With `steps` that many steps are made, however long they take: the same losses on a busy machine.

    Matrices inside the layers learn by Muon (orthogonalised momentum, which needs about half the steps of
    AdamW here), embeddings and norms by AdamW.
    """
    tokenizer = make_tokenizer(seed)
    model = make_model(tokenizer.get_vocab_size(), seed)
    (newline,), mark = (tokenizer.encode(text).ids for text in ("\n", "A:"))
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    optimizers = [
        torch.optim.Muon(inside, lr=MUON_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAMW_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    losses: list[float] = []
    warm = min(100, steps // 4) if steps else 100
    started = saved = time.monotonic()
    for step, rows in enumerate(batches(tokenizer, seed, batch, length)):
        done = step / steps if steps else (time.monotonic() - started) / (60 * minutes)
        if done >= 1:
            break
        rate = min(1.0, (step + 1) / warm) * min(1.0, 2 * (1 - done) + 0.01)
        for optimizer, top in zip(optimizers, (MUON_RATE, ADAMW_RATE), strict=True):
            optimizer.param_groups[0]["lr"] = top * rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows[:, :-1]).logits
        each = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), rows[:, 1:], reduction="none")
        weights = answer_weights(rows, mark, newline, ANSWER_WEIGHT)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        ((each * weights).sum() / weights.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(each.mean().item())
        if step % report == 0:
            answers = each[weights > 1].mean().item()
            print(f"step {step} loss {losses[-1]:.4f} answers {answers:.4f} {done:.0%}", flush=True)
        if time.monotonic() - saved > 180:
            saved = time.monotonic()
            save(model, tokenizer, out, {"seed": seed, "minutes": round(minutes * done, 1), "steps": step})
    facts = {
        "seed": seed,
        "minutes": minutes,
        "steps": len(losses),
        "loss": sum(losses[-50:]) / len(losses[-50:]),
    }
    save(model, tokenizer, out, facts)
    return losses


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the demo model from generated tales.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.out, options.minutes, options.seed)


if __name__ == "__main__":
    main()
