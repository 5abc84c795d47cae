"""Train the demo model: ``python -m llmdist.demo.train --minutes 60 --seed 0 --out DIR``.

A byte-level BPE and a Llama-shaped model are trained on tales of the grammar alone. A checkpoint that
transformers opens unchanged is written every three minutes and at the end, each time as a whole.
"""

from __future__ import annotations

import argparse
import json
import math
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


def make_tokenizer(seed: int, vocab_size: int = 512) -> Any:
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
    """Return an untrained Llama of 8 layers and about 2.4 million weights."""
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


def train(
    out: Path, minutes: float, seed: int, batch: int = 8, length: int = 144, report: int = 50
) -> list[float]:
    """Train for `minutes` of wall-clock time and return the loss of every step (nats per token)."""
    tokenizer = make_tokenizer(seed)
    model = make_model(tokenizer.get_vocab_size(), seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.05)
    losses: list[float] = []
    started = saved = time.monotonic()
    for step, rows in enumerate(batches(tokenizer, seed, batch, length)):
        done = (time.monotonic() - started) / (60 * minutes)
        if done >= 1:
            break
        rate = 3e-3 * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % report == 0:
            print(f"step {step} loss {losses[-1]:.4f} {done:.0%}", flush=True)
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
