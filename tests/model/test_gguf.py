"""GGUF files open like any checkpoint and give the tokens of their unpacked weights."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import write_demo_tokenizer, write_gguf
from running import greedy_tokens, reference_tokens
from tiny import write_tokenizer

import llmdist
from llmdist.demo import model_path
from llmdist.errors import ModelError
from llmdist.model.checkpoint import Checkpoint
from llmdist.model.tokenizer import Tokenizer

PROMPT = [5, 77, 300, 12, 9, 41, 8, 100, 3]
CASES = [
    ("llama", "Q8_0"), ("llama", "Q4_0"), ("llama", "Q4_K"), ("llama", "Q6_K"), ("llama", "F16"), ("llama", "BF16"),
    ("llama", "F32"), ("qwen2", "Q8_0"), ("qwen3", "Q4_K"),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_gguf_files_give_the_tokens_of_their_unpacked_weights(tmp_path: Path, architecture: str, kind: str) -> None:
    """Resident, half-streamed and all-streamed float32 runs equal transformers on the dequantised weights."""
    file, reference = write_gguf(tmp_path, architecture, kind)
    expected = reference_tokens(reference, PROMPT, 8)
    checkpoint = Checkpoint.open(file)
    assert checkpoint.config.family == architecture
    blocks = [block.name for block in checkpoint.profile.blocks]
    for streamed, streaming in ((set(), True), (set(blocks[::2]), True), (set(blocks), False)):
        assert greedy_tokens(checkpoint, streamed, PROMPT, 8, streaming) == expected


def test_a_session_loads_a_gguf_file_by_its_path(tmp_path: Path) -> None:
    """The tokenizer beside the file is used, the engine opens the same file, and the folder's name will do too."""
    file, reference = write_gguf(tmp_path, "llama", "Q8_0", tie_word_embeddings=True)
    write_tokenizer(tmp_path)
    session = llmdist.load(str(file))
    session.plan(context=64, precision="fp32", seconds=0.2)
    tokens = [step.token_id for step in session.generate(PROMPT, max_new_tokens=6)]
    session.unload()
    assert tokens == reference_tokens(reference, PROMPT, 6)
    assert Checkpoint.open(tmp_path).profile.parameters == Checkpoint.open(file).profile.parameters


def test_the_tokenizer_inside_a_gguf_file_is_that_of_the_model(tmp_path: Path) -> None:
    """Without tokenizer.json beside the file, its metadata give the same tokens and text."""
    inside, original = Tokenizer.open(write_demo_tokenizer(tmp_path / "demo.gguf")), Tokenizer.open(model_path())
    text = "One day Anna the ant walked to the hill, and said: 'hello'  twice."
    assert inside.encode(text) == original.encode(text)
    assert inside.decode(inside.encode(text)) == text


def broken(folder: Path, architecture: str = "llama", kind: str = "Q8_0") -> Path:
    """Return a whole file, to be damaged."""
    return write_gguf(folder, architecture, kind)[0]


def test_damaged_gguf_files_are_named(tmp_path: Path) -> None:
    """Cut in the weights, cut in the header, not GGUF at all, and two files in one folder."""
    file = broken(tmp_path)
    whole = file.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:300], b"not a model"):
        file.write_bytes(data)
        with pytest.raises(ModelError, match=r"truncated|cannot be read as GGUF") as caught:
            Checkpoint.open(file)
        assert "\n" not in str(caught.value)
    file.with_name("other.gguf").write_bytes(whole)
    with pytest.raises(ModelError, match="2 GGUF files"):
        Checkpoint.open(tmp_path)


def test_gguf_of_another_architecture_or_type_is_named(tmp_path: Path) -> None:
    """A T5 and a type of two bits are refused with what can be read."""
    for architecture, kind, words in (("t5", "F16", "'t5'"), ("llama", "Q2_K", "Q2_K")):
        writer = gguf.GGUFWriter(tmp_path / f"{architecture}.gguf", architecture)
        quantised = gguf.GGMLQuantizationType[kind]
        values, nbytes = gguf.GGML_QUANT_SIZES[quantised]
        raw = np.zeros((8, 256 // values * nbytes), np.uint8)
        writer.add_tensor("token_embd.weight", raw, raw_dtype=quantised)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(ModelError, match=words):
            Checkpoint.open(tmp_path / f"{architecture}.gguf")


def test_without_the_gguf_package_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named."""
    file = broken(tmp_path)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r"pip install llmdist\[gguf\]"):
        Checkpoint.open(file)
