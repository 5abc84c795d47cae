"""Score a demo model: ``python -m llmdist.demo.score DIR --tales 100``.

Exact match of greedy answers on tales that the training stream did not hold, and the loss on them. A
greedy answer is exact if and only if every token of the true answer, its newline included, is the most
likely one after the tokens before it; so one forward pass per tale scores all its questions. Earlier
questions of the tale stand there with their true answers. It measures the demo model, nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch

from .grammar import Tale, tale

__all__ = ["held_out", "score"]

END = "<|endoftext|>"
TALES_PER_STEP = 8 * 3  # at least as many as a training step of 8 rows takes from the stream


def held_out(count: int, seed: int, steps: int) -> list[Tale]:
    """Return `count` tales that are not in the stream of a training run of `steps` steps."""
    stream = Random(f"train {seed}")
    seen = {tale(stream).text for _ in range(steps * TALES_PER_STEP)}
    rng = Random(f"score {seed}")
    tales: list[Tale] = []
    while len(tales) < count:
        fresh = tale(rng)
        if fresh.text not in seen:
            tales.append(fresh)
    return tales


def answer_spans(one: Tale) -> Iterator[tuple[int, int]]:
    """Yield where in the tale's text each answer begins (after 'A:') and ends (after its newline)."""
    end = len(" ".join(one.sentences)) + 1
    for question, answer in one.questions:
        begin = end + len(f"Q: {question}\nA:")
        end = begin + len(f" {answer}\n")
        yield begin, end


def score(folder: Path, tales: list[Tale]) -> dict[str, Any]:
    """Return exact match, question count, loss (nats per token) and parameters of the model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    right = asked = tokens = 0
    loss = 0.0
    for one in tales:
        text = END + one.text
        ids = torch.tensor(tokenizer(text).input_ids)
        with torch.inference_mode():
            logits = model(ids[None]).logits[0, :-1]
        loss += float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))
        tokens += len(ids) - 1
        hit = logits.argmax(-1) == ids[1:]
        for span in answer_spans(one):
            first, last = (len(tokenizer(text[: len(END) + at]).input_ids) - 1 for at in span)
            right += bool(hit[first:last].all())
            asked += 1
    return {
        "exact_match": round(right / asked, 4),
        "questions": asked,
        "loss": round(loss / tokens, 4),
        "parameters": model.num_parameters(),
    }


def main() -> None:
    """Read the command line, score the model and write score.json beside it."""
    parser = argparse.ArgumentParser(description="Score the demo model on held-out tales.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tales", type=int, default=100)
    options = parser.parse_args()
    run = json.loads((options.folder / "training.json").read_text())
    weights = hashlib.sha256((options.folder / "model.safetensors").read_bytes()).hexdigest()
    result = score(options.folder, held_out(options.tales, run["seed"], run["steps"]))
    facts = {key: run[key] for key in ("seed", "minutes", "steps")}
    result |= facts | {"weights_sha256": weights}
    (options.folder / "score.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
