"""Any other decoder of transformers, by its own modules: how it is cut into blocks, and what is refused.

The model is built without weights to learn its layers and the names of its parameters. A block is a whole layer;
the embedding and everything outside the layers (the head) are the other two. This is the slow path: nothing is
fused, and a family of our own is always preferred. What computes it is the executor's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from .blocks import ModelProfile
from .config import FAMILIES, ModelConfig
from .families.foreign import read_foreign_fields
from .profile import sized_block
from .tensors import Expected

__all__ = ["ForeignLayout", "build_skeleton", "head_names", "layer_list"]


class ForeignLayout:
    """How a model that transformers computes is cut into blocks; no weights are read.

    Parameters
    ----------
    folder : the model folder, with a ``config.json`` whose ``model_type`` is none of `FAMILIES`.
    names : the tensors that the files hold.

    Raises
    ------
    ModelError : transformers has no decoder of that type, or it is of a kind that cannot be placed by layers.
    """

    def __init__(self, folder: Path, raw: Mapping[str, Any], names: Iterable[str]) -> None:
        self._model = build_skeleton(folder, raw, torch.float32)
        self._file_names = _renamed(self._model, names)
        layers_name, layers = layer_list(self._model)
        table = self._model.get_input_embeddings().weight
        tied = self._model.get_output_embeddings().weight is table
        self.config = ModelConfig(**read_foreign_fields(self._model.config, raw, tuple(table.shape), len(layers), tied))
        self.blocks = self._blocks(layers_name, layers)

    def _blocks(self, layers_name: str, layers: nn.ModuleList) -> dict[str, dict[str, Expected]]:
        table = self._model.get_input_embeddings()
        outside: dict[str, Expected] = {}
        embed: dict[str, Expected] = {}
        ours = head_names(self._model)
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if parameter is not table.weight and not name.startswith(f"{layers_name}."):
                outside[ours.get(name, name)] = self._expected(name, parameter)
            elif parameter is table.weight and not embed:
                embed["weight"] = self._expected(name, parameter)
        if self.config.tie_embeddings:
            outside["lm_head"] = embed["weight"]
        middle = {
            f"layers.{i}.block": {
                name: self._expected(f"{layers_name}.{i}.{name}", parameter)
                for name, parameter in layer.named_parameters()
            }
            for i, layer in enumerate(layers)
        }
        return {"embed": embed, **middle, "head": outside}

    def _expected(self, name: str, parameter: nn.Parameter) -> Expected:
        """Return the tensor of a parameter; files of a bare model leave the first word of the name out."""
        bare = name.removeprefix(f"{self._model.base_model_prefix}.")
        found = self._file_names.get(name, self._file_names.get(bare, name))
        return Expected(found, tuple(parameter.shape))

    def profile(self, name: str) -> ModelProfile:
        """Return the sizes of every block of the model called `name`."""
        blocks = tuple(
            sized_block(self.config, block, "layer" if block.endswith(".block") else block, tensors)
            for block, tensors in self.blocks.items()
        )
        config = self.config
        return ModelProfile(name, blocks, config.hidden_size, config.vocab_size, config.max_context, config.torch_dtype)


def build_skeleton(folder: Path, raw: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Return transformers' model with all parameters on the meta device; ModelError for what cannot run."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type = raw.get("model_type")
    refused = _why_not(raw)
    if raw.get("quantization_config"):
        refused = "which llmdist has no layers for, and quantised, which transformers' layers cannot stream"
    if refused is None:
        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"The model is of type {model_type!r}, which llmdist has no layers for, and transformers cannot "
                f"build it either ({reason}): check config.json, or choose another model."
            ) from error
        refused = _cannot_be_cut(model)
    if refused is not None:
        raise ModelError(
            f"The model is of type {model_type!r} (model_type in config.json), {refused}: choose a decoder-only "
            f"model; the fast ones are of type {', '.join(FAMILIES)}."
        )
    return model.eval()


def _why_not(raw: Mapping[str, Any]) -> str | None:
    """Return why a model of this config is not run, as a clause; None when it may be."""
    from transformers.models.auto import modeling_auto as known

    model_type = raw.get("model_type")
    if raw.get("is_encoder_decoder") or model_type in known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "an encoder-decoder, and llmdist runs decoders only"
    senses = {"vision_config", "audio_config"} & set(raw)
    if senses or model_type in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return "which takes pictures or sound besides text, and llmdist runs text only"
    if model_type not in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        custom = " (its own code, auto_map, is never run)" if raw.get("auto_map") else ""
        return f"for which transformers has no text generation{custom}"
    if model_type in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "an encoder that fills gaps, and llmdist runs decoders only"
    return None


def _cannot_be_cut(model: Any) -> str | None:
    if getattr(model, "_is_stateful", False):
        return "which keeps a recurrent state (SSM or linear attention), and llmdist keeps keys and values only"
    if model.get_output_embeddings() is None or model.get_input_embeddings() is None:
        return "whose embedding and head transformers does not name"
    if not [found for found in _lists(model) if len(found[1]) == model.config.num_hidden_layers]:
        return "whose layers are not one plain list"
    return None


def _renamed(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Return the names in the files by those in the model: transformers renames some as it loads them."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    renamings = [t for t in get_model_conversion_mapping(model) if isinstance(t, WeightRenaming)]
    result = {}
    for stored in names:
        name = stored
        for renaming in renamings:
            name, _ = renaming.rename_source_key(name)
        result[name] = stored
    return result


def head_names(model: Any) -> dict[str, str]:
    """Return the parameters of the matrix that gives the logits: name in the model -> name in the block ``head``."""
    head = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is head)
    ours = {"weight": "lm_head", "bias": "lm_head_bias"}
    return {f"{name}.{last}": ours[last] for last, _ in head.named_parameters()}


def _lists(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]


def layer_list(model: Any) -> tuple[str, nn.ModuleList]:
    """Return the model's list of layers and its name."""
    return next(found for found in _lists(model) if len(found[1]) == model.config.num_hidden_layers)
