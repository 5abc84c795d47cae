"""Every damaged checkpoint is one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import write_tiny

from llmdist.errors import ModelError
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.hub import resolve


def edit_config(folder: Path, **changes: object) -> None:
    """Change keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def cut(folder: Path) -> None:
    """Cut the weights in half."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_shard(folder: Path) -> None:
    """Make the index name a file that is not there."""
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def only_pickle(folder: Path) -> None:
    """Leave a pickle as the only weights."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def rewrite(folder: Path, old: bytes, new: bytes) -> None:
    """Replace bytes of the header by as many others."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))


DAMAGES = [
    (lambda f: (f / "config.json").unlink(), "config.json"),
    (lambda f: (f / "config.json").write_text("{"), "config.json"),
    (lambda f: (f / "model.safetensors").unlink(), "safetensors"),
    (cut, "truncated"),
    (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "header"),
    (lambda f: (f / "model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0hello"), "header"),
    (lose_shard, "model-00001-of-00002"),
    (only_pickle, "pickle"),
    (lambda f: edit_config(f, model_type="gpt2"), "wte"),
    (lambda f: edit_config(f, model_type="t5"), "llama"),
    (lambda f: edit_config(f, model_type=None), "None"),
    (lambda f: edit_config(f, intermediate_size=113), "113"),
    (lambda f: edit_config(f, num_hidden_layers=5), "layers.4"),
    (lambda f: edit_config(f, hidden_size=-1), "hidden_size"),
    (lambda f: edit_config(f, rope_parameters={"rope_type": "spiral"}), "spiral"),
    (lambda f: edit_config(f, rope_parameters={"rope_type": "linear"}), "no number for factor"),
    (lambda f: edit_config(f, rope_parameters={"rope_type": "longrope", "short_factor": [1]}), "short_factor"),
    (lambda f: edit_config(f, rope_parameters={"partial_rotary_factor": 0.01}), "rotates 0.01"),
    (lambda f: edit_config(f, hidden_act="relu2"), "relu2"),
    (lambda f: edit_config(f, model_type="mistral", sliding_window=-3), "sliding_window"),
    (lambda f: edit_config(f, model_type="smollm3", no_rope_layers=[1]), "no_rope_layers"),
    (lambda f: edit_config(f, model_type="olmo2"), "q_norm"),
    (lambda f: edit_config(f, model_type="phi3"), "qkv_proj"),
    (lambda f: edit_config(f, model_type="mixtral"), "block_sparse_moe.gate"),
    (lambda f: edit_config(f, model_type="mixtral", num_local_experts=2, num_experts_per_tok=3), "3 of them"),
    (lambda f: edit_config(f, model_type="qwen3_moe", moe_intermediate_size=0), "inner size 0"),
    (lambda f: rewrite(f, b'"F32"', b'"F99"'), "F99"),
    (lambda f: rewrite(f, b'"F32"', b'"I64"'), "I64"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: object, words: str) -> None:
    """Opening raises ModelError with what was found."""
    folder = write_tiny(tmp_path / "model")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=words) as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "", "a/b/c"])
def test_a_missing_folder_is_named(name: str) -> None:
    """What looks like a path is never asked for at the hub."""
    with pytest.raises(ModelError, match="no folder"):
        resolve(name)


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    """A checkpoint whose weights are a hole in the file opens: only the header is read."""
    folder = write_tiny(tmp_path / "model")
    file = folder / "model.safetensors"
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    with open(file, "wb") as handle:
        handle.write(data[:header])
        handle.truncate(len(data))
    assert Checkpoint.open(folder).profile.parameters > 0
