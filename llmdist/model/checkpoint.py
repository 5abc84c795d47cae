"""A model folder, opened by its config and its safetensors headers; no weight is read here.

The checkpoint maps each block to the byte ranges of its tensors under short local names, so whoever
reads them needs to know neither Hugging Face's tensor names nor the file format. Everything that can
be wrong with a folder is found when it is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..demo import model_path
from ..errors import ModelError
from .blocks import ModelProfile
from .config import ModelConfig, is_foreign
from .gguf_file import find_gguf, read_gguf
from .headers import TensorEntry, read_header, read_json
from .profile import block_names, profile
from .quantised import join_quantised
from .tensors import Expected, expected_tensors

__all__ = ["Checkpoint", "TensorEntry"]

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_EXECUTABLE = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened model folder: its config, its sizes, and where each block's tensors lie."""

    folder: Path
    config: ModelConfig
    profile: ModelProfile
    _blocks: Mapping[str, Mapping[str, TensorEntry]]
    _identity: str

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read the config and the headers of `folder` and check that all tensors are there.

        Raises
        ------
        ModelError : when the folder, its config or a weights file is missing, damaged or not supported.
        """
        folder = Path(folder).expanduser().resolve()
        packed = find_gguf(folder)
        if packed is not None:
            return cls._open_own(folder, *read_gguf(packed), packed)
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise ModelError(f"The model folder {folder} was asked for, and {found} is there: check the path.")
        raw = _read_config(folder)
        if is_foreign(raw):
            return cls._open_foreign(folder, raw)
        return cls._open_own(folder, raw, _read_entries(folder), folder / "config.json")

    @classmethod
    def _open_own(
        cls, folder: Path, raw: dict[str, Any], entries: Mapping[str, TensorEntry], described: Path
    ) -> Checkpoint:
        """Open a model of a family of ours; `described` is the file that its config comes from."""
        settings = raw.pop("quantization_config", None)
        config = ModelConfig.from_hf(raw)
        if settings:
            entries = join_quantised(settings, entries)
        blocks = {name: _pick(folder, entries, expected_tensors(config, name)) for name in block_names(config)}
        if not (raw.get("dtype") or raw.get("torch_dtype")):
            config = replace(config, torch_dtype=_EXECUTABLE[blocks["embed"]["weight"].dtype])
        divisible = all(e.codec is None for n, block in blocks.items() if n.endswith(".mlp") for e in block.values())
        sizes = profile(config, _display_name(folder), divisible)
        return cls(folder, config, sizes, blocks, _identify(described, blocks))

    @classmethod
    def _open_foreign(cls, folder: Path, raw: dict[str, Any]) -> Checkpoint:
        """Open a model of another family: transformers says what its layers are."""
        from .foreign import ForeignLayout  # transformers takes seconds to import

        entries = _read_entries(folder)
        layout = ForeignLayout(folder, raw, entries)
        blocks = {name: _pick(folder, entries, expected) for name, expected in layout.blocks.items()}
        sizes = layout.profile(_display_name(folder))
        return cls(folder, layout.config, sizes, blocks, _identify(folder / "config.json", blocks))

    def block_tensors(self, block_name: str) -> dict[str, TensorEntry]:
        """Return the tensors of one block by local name, such as ``q`` or ``input_norm``."""
        if block_name not in self._blocks:
            raise ModelError(
                f"The model has no block {block_name!r}: it has embed, layers.0 to "
                f"layers.{self.config.num_layers - 1} (with .attention and .mlp, or .router and .experts.0 ..), head."
            )
        return dict(self._blocks[block_name])

    def identity(self) -> str:
        """Return a short hash of the folder and of its files' sizes and times when it was opened."""
        return self._identity


def _pick(
    folder: Path, entries: Mapping[str, TensorEntry], expected: Mapping[str, Expected]
) -> dict[str, TensorEntry]:
    """Return the expected tensors of one block, after checking that each is there and fits."""
    return {local: _find(folder, entries, tensor) for local, tensor in expected.items()}


def _find(folder: Path, entries: Mapping[str, TensorEntry], expected: Expected) -> TensorEntry:
    """Return one tensor, or the rows of it that are meant."""
    name, shape = expected.name, expected.shape
    whole = shape if expected.stacked_rows is None else (expected.stacked_rows, *shape[1:])
    entry = entries.get(name)
    if entry is None:
        raise ModelError(
            f"The weights in {folder} lack the tensor {name!r} (they hold {len(entries)} others) that "
            "config.json calls for: check that config and weights belong together, or download again."
        )
    if entry.shape != whole:
        raise ModelError(
            f"Tensor {name!r} in {entry.path} has shape {list(entry.shape)}, and config.json calls for "
            f"{list(whole)}: check that config and weights belong together, or download again."
        )
    if entry.dtype not in _EXECUTABLE:
        raise ModelError(
            f"Tensor {name!r} in {entry.path} has the type {str(entry.dtype).removeprefix('torch.')}, and "
            "llmdist reads float32, bfloat16 and float16: use a version of the model in one of these."
        )
    return entry if expected.stacked_rows is None else entry.rows(expected.first_row, shape[0])


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        count = len(list(folder.iterdir()))
        raise ModelError(
            f"The folder {folder} has no config.json among its {count} files, so it is not a model in the "
            "Hugging Face format: give the folder that holds config.json and the .safetensors files."
        )
    return read_json(path)


def _read_entries(folder: Path) -> dict[str, TensorEntry]:
    """Return every tensor of the folder: by the index, else of the one file (or all there are)."""
    index = folder / _INDEX
    if index.is_file():
        return _read_shards(folder, index)
    single = folder / _SINGLE
    paths = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    if not paths:
        raise _no_weights(folder)
    return _text_names({name: entry for path in paths for name, entry in read_header(path).items()})


def _text_names(entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """Return the entries with the text model of a model with pictures under the names of a text model alone."""
    result = {}
    for name, entry in entries.items():
        bare = name.replace("model.language_model.", "model.", 1).removeprefix("language_model.")
        result[bare] = entry
    return result


def _read_shards(folder: Path, index: Path) -> dict[str, TensorEntry]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(_is_file_name(v) for v in weight_map.values()):
        raise ModelError(f"{index} has no weight_map of tensor names to file names: download it again.")
    shards = sorted(set(weight_map.values()))
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise ModelError(
            f"The weights in {folder} are incomplete: {len(missing)} of the {len(shards)} files that {_INDEX} "
            f"lists are missing, first {missing[0]}: download the missing files."
        )
    headers = {shard: read_header(folder / shard) for shard in shards}
    found = ((name, headers[shard].get(name)) for name, shard in weight_map.items())
    return _text_names({name: entry for name, entry in found if entry is not None})


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & {"/", "\\"}


def _no_weights(folder: Path) -> ModelError:
    """Return the error of a folder without safetensors files."""
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
    if pickled:
        return ModelError(
            f"The folder {folder} has its weights only as pickle ({len(pickled)} such files, first {pickled[0]}), "
            "which can run code when it is opened, so llmdist refuses it: convert it where you trust it, with "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) of transformers, which "
            "writes safetensors."
        )
    return ModelError(
        f"The folder {folder} has a config.json but none of its files is a .safetensors file: "
        "download the weights as well."
    )


def _display_name(folder: Path) -> str:
    """Return what people call the model: the hub's name, ``demo``, or the folder's name."""
    if folder == model_path().resolve():
        return "demo"
    cached = folder.parent.parent.name
    if folder.parent.name == "snapshots" and cached.startswith("models--"):
        return cached.removeprefix("models--").replace("--", "/")
    return folder.name


def _identify(described: Path, blocks: Mapping[str, Mapping[str, TensorEntry]]) -> str:
    files = {described} | {entry.path for block in blocks.values() for entry in block.values()}
    digest = hashlib.sha256(str(described.parent).encode())
    for path in sorted(files):
        stat = path.stat()
        digest.update(f"\n{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
