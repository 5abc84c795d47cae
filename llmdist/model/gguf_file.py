"""A GGUF file as a checkpoint: its metadata in the words of ``config.json``, its tensors under the same names.

The `gguf` package reads the header; the weights are not touched. Llama, Qwen 2 and Qwen 3 are known, which is most of
what is shared in this format (Mistral is written as Llama).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .gguf_types import FORMATS
from .headers import TensorEntry
from .packed import GgufRows

__all__ = ["find_gguf", "read_gguf"]

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OTHER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def find_gguf(path: Path) -> Path | None:
    """Return the GGUF file that `path` is, or the only one in the folder `path` without a ``config.json``."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if not path.is_dir() or (path / "config.json").exists():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise ModelError(
            f"The folder {path} holds {len(files)} GGUF files, {files[0].name} to {files[-1].name}: "
            "give the path of the one to load."
        )
    return files[0] if files else None


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, TensorEntry]]:
    """Return the config of a GGUF file, as ``config.json`` would say it, and its tensors by their usual names.

    Raises
    ------
    ModelError : the `gguf` package is missing, the file is damaged, or its architecture or a type is not known.
    """
    reader = _open(path)
    architecture = _value(reader, "general.architecture")
    if architecture not in _ARCHITECTURES:
        raise ModelError(
            f"{path} is of architecture {architecture!r}, and llmdist reads GGUF of {', '.join(_ARCHITECTURES)}: "
            "use the safetensors version of the model."
        )
    if (_value(reader, "split.count") or 1) > 1:
        raise ModelError(
            f"{path} is one of {_value(reader, 'split.count')} parts, and llmdist reads GGUF in one file: join the "
            "parts with llama-gguf-split --merge, or use the safetensors version of the model."
        )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(reader, architecture, tensors)
    permuted = config["head_dim"] if architecture == "llama" else 0
    size = path.stat().st_size
    entries = {_usual_name(name): _entry(path, size, tensor, permuted) for name, tensor in tensors.items()}
    return config, entries


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(
            f"{path} is a GGUF file, and the package that reads them is not installed: pip install llmdist[gguf]."
        ) from error
    try:
        return GGUFReader(path)
    except Exception as error:  # the package raises whatever the damage leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path} cannot be read as GGUF ({reason}): download or copy the file again.") from error


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _config(reader: Any, architecture: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata under the key names of ``config.json``."""
    found = {ours: _value(reader, f"{architecture}.{key}") for key, ours in _KEYS.items()}
    config = {key: value for key, value in found.items() if value is not None}
    if "token_embd.weight" in tensors:
        config["vocab_size"] = int(tensors["token_embd.weight"].shape[1])
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    config.setdefault("head_dim", hidden // heads if heads and hidden else None)
    types = {tensor.tensor_type.name for tensor in tensors.values() if len(tensor.shape) == 2}
    return config | {
        "model_type": architecture,
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": architecture != "qwen2" and "blk.0.attn_q.bias" in tensors,
        "eos_token_id": _value(reader, "tokenizer.ggml.eos_token_id"),
        "bos_token_id": _value(reader, "tokenizer.ggml.bos_token_id"),
        "torch_dtype": {frozenset({"F32"}): "float32", frozenset({"F16"}): "float16"}.get(frozenset(types), "bfloat16"),
        "rope_parameters": _rope(reader, architecture, config, tensors),
    }


def _rope(reader: Any, architecture: str, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary parameters; Llama 3's stretched speeds come as a tensor of factors that divide them."""
    rope: dict[str, Any] = {"rope_theta": config.get("rope_theta")}
    kind = _value(reader, f"{architecture}.rope.scaling.type")
    if kind in ("linear", "yarn"):
        original = _value(reader, f"{architecture}.rope.scaling.original_context_length")
        factor = _value(reader, f"{architecture}.rope.scaling.factor")
        rope |= {"rope_type": kind, "factor": factor, "original_max_position_embeddings": original}
    if "rope_freqs.weight" in tensors:
        factors = [float(factor) for factor in tensors["rope_freqs.weight"].data]
        longest = config.get("max_position_embeddings")
        rope |= {"rope_type": "longrope", "short_factor": factors, "attention_factor": 1.0, "factor": 1.0}
        rope["original_max_position_embeddings"] = longest
    return rope


def _usual_name(name: str) -> str:
    """Return the name that safetensors files use."""
    if not name.startswith("blk."):
        return _OTHER_NAMES.get(name, name)
    _, layer, part, last = name.split(".", 3)
    return f"model.layers.{layer}.{_LAYER_NAMES.get(part, part)}.{last}"


def _entry(path: Path, size: int, tensor: Any, head_rows: int) -> TensorEntry:
    """Return where a tensor lies, with the codec of its rows unless they are plain numbers."""
    name, kind, shape = tensor.name, tensor.tensor_type.name, tuple(int(n) for n in reversed(tensor.shape))
    if kind not in FORMATS:
        raise ModelError(
            f"Tensor {name!r} in {path} is stored as {kind}, and llmdist reads {', '.join(FORMATS)}: "
            "use a version of the model in one of these, such as Q4_K_M or Q8_0."
        )
    offset, nbytes = int(tensor.data_offset), int(tensor.n_bytes)
    if offset + nbytes > size:
        raise ModelError(
            f"{path} is truncated: tensor {name!r} ends at byte {offset + nbytes}, and the file has {size} bytes; "
            "download or copy the file again."
        )
    plain = TensorEntry(name, path, offset, nbytes, shape, _PLAIN.get(kind, torch.bfloat16))
    permuted = head_rows if ".attn_q.weight" in name or ".attn_k.weight" in name else 0
    if len(shape) != 2 or (kind in _PLAIN and not permuted):
        return plain
    return replace(plain, codec=GgufRows(path, offset, (shape[0], shape[1]), kind, permuted))
