"""Text to token ids and back, by the tokenizer that a checkpoint brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import GenerationError, ModelError
from .gguf_file import find_gguf

__all__ = ["Tokenizer"]


class Tokenizer:
    """A thin face of the transformers tokenizer: encode, decode, chat."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @classmethod
    def open(cls, folder: Path) -> Tokenizer:
        """Return the tokenizer in `folder`, or beside or inside a GGUF file; ModelError when there is none."""
        folder = Path(folder)
        packed = find_gguf(folder)
        folder = folder.parent if folder.is_file() else folder
        if packed is not None and not (folder / "tokenizer.json").exists():
            return cls._open(folder, gguf_file=packed.name)
        if not any((Path(folder) / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
            raise ModelError(f"{folder} has no tokenizer (tokenizer.json): download the model again.")
        return cls._open(folder)

    @classmethod
    def _open(cls, folder: Path, **options: Any) -> Tokenizer:
        from transformers import AutoTokenizer

        try:
            return cls(AutoTokenizer.from_pretrained(str(folder), local_files_only=True, **options))
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"The tokenizer in {folder} cannot be read: {reason.rstrip('.')}. Download the model again."
            ) from error

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`, special tokens added as the model expects."""
        return list(self._inner.encode(text))

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids` without special tokens."""
        return str(self._inner.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def vocabulary(self) -> dict[str, int]:
        """Return every token's text and id."""
        return dict(self._inner.get_vocab())

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be used."""
        return getattr(self._inner, "chat_template", None) is not None

    def chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Return the token ids of a conversation, ready for the model's answer."""
        if not self.has_chat_template:
            raise GenerationError("The model's tokenizer has no chat template: generate without chat.")
        text = self._inner.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._inner.encode(text, add_special_tokens=False))
