"""Which kernel for which weights, decided by about a second of timing on this machine and kept in the cache.

For each kind of weights and each number of tokens (one, a few, many, a long prompt) the candidates are timed, where
memory decides on a matrix larger than the caches; a kernel whose result is wrong is out whatever its speed. Nothing is
guessed from the processor's name.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from ..buffers import aligned_buffer
from ..paths import cache_folder, replace_text
from .cpu import KINDS, Weight, kernels, matrix_argument, product, unpack_quickly
from .packing import PackedMatrix, pack, packed_bytes

__all__ = ["BULK_TOKENS", "FEW_TOKENS", "Choice", "choices", "one_thread", "retune"]

_BYTES = 48 << 20
_COLUMNS, _WIDE_COLUMNS = 2048, 16384
_FEW, _MANY, _BULK = 4, 64, 512
_TURNS = 3
_FUSION = 1.5
FEW_TOKENS, BULK_TOKENS = 8, 256
_PLAIN = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use for one kind of weights: rows or panels read side by side, and ``kernel`` or ``torch`` by tokens.

    `wide_streams` is for matrices whose tokens take more than 12 KiB as the kernel packs them (floats for fp32, 16 bits
    for bf16, fp16 and int8, bytes for int4), `streams` for others.
    """

    streams: int
    wide_streams: int
    one: str
    few: str
    many: str
    bulk: str

    def engine(self, tokens: int) -> str:
        """Return the engine for a product with `tokens` tokens."""
        if tokens <= FEW_TOKENS:
            return self.one if tokens == 1 else self.few
        return self.many if tokens < BULK_TOKENS else self.bulk


@cache
def choices() -> dict[str, Choice]:
    """Return the choice of every precision: from the cache, or timed now; all ``torch`` without kernels."""
    loaded = kernels()
    if loaded is None:
        return {kind: Choice(1, 1, "torch", "torch", "torch", "torch") for kind in (*_PLAIN, "int8", "int4")}
    path = cache_folder() / "kernels" / f"{Path(loaded._name).stem}-{torch.get_num_threads()}.json"
    found = _stored(path)
    if found is None:
        busy = not _is_idle()
        found = _timed()
        _store(path, found, busy)
    for kind, choice in found.items():
        loaded.llmdist_streams(KINDS[_PLAIN.get(kind, kind)], choice.streams, choice.wide_streams)
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread meanwhile: in a tiny model two gain little, and on a busy machine wait for each other."""
    choices()  # timed with all threads, if it was not yet
    count, loaded = torch.get_num_threads(), kernels()
    try:
        torch.set_num_threads(1)
        if loaded is not None:
            loaded.llmdist_threads(1)
        yield
    finally:
        torch.set_num_threads(count)
        if loaded is not None:
            loaded.llmdist_threads(count)


def retune() -> None:
    """Forget the choices, so that the next use loads or times them again."""
    choices.cache_clear()


def _stored(path: Path) -> dict[str, Choice] | None:
    """Return the kept choices; None where there are none, or those timed beside other work can be timed better now."""
    try:
        data = json.loads(path.read_text())
        if data.pop("torch") != str(torch.__version__) or (data.pop("busy", False) and _is_idle()):
            return None
        return {kind: Choice(**data[kind]) for kind in (*_PLAIN, "int8", "int4")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_idle() -> bool:
    return float(psutil.cpu_percent(interval=0.2)) < 30


def _store(path: Path, found: dict[str, Choice], busy: bool) -> None:
    kept = {kind: asdict(choice) for kind, choice in found.items()}
    with suppress(OSError):
        replace_text(path, json.dumps({**kept, "torch": str(torch.__version__), "busy": busy}))


@torch.inference_mode()
def _timed() -> dict[str, Choice]:
    memory = aligned_buffer(_BYTES).zero_()
    found = {kind: _timed_kind(kind, memory) for kind in (*_PLAIN, "int8", "int4")}
    loaded = kernels()
    if loaded is not None:
        loaded.llmdist_free_scratch()
    return found


def _timed_kind(kind: str, memory: Tensor) -> Choice:
    if not _correct(kind):
        return Choice(1, 1, "torch", "torch", "torch", "torch")
    large, small = _matrix(kind, memory, _BYTES), _matrix(kind, memory, 1 << 20)
    streams, wide = _fastest(kind, large), _fastest(kind, _matrix(kind, memory, _BYTES, _WIDE_COLUMNS))
    loaded = kernels()
    assert loaded is not None
    loaded.llmdist_streams(KINDS[_PLAIN.get(kind, kind)], streams, wide)
    if isinstance(large, PackedMatrix) or isinstance(small, PackedMatrix):
        assert isinstance(small, PackedMatrix)
        many, bulk = (_faster_packed(count, small) for count in (_MANY, _BULK))
        return Choice(streams, wide, "kernel", "kernel", many, bulk)
    few, many, bulk = _faster(_FEW, large), _faster(_MANY, small), _faster(_BULK, small)
    return Choice(streams, wide, _faster(1, large), few, many, bulk)


def _fastest(kind: str, weight: Weight) -> int:
    """Return how many rows or panels to read side by side for one token, of weights that no cache holds.

    From a cache other counts win than from memory, and the weights of a model come from memory.
    """
    loaded = kernels()
    assert loaded is not None
    argument, (rows, columns) = matrix_argument(weight), weight.shape
    x, y = torch.zeros(1, columns), torch.empty(1, rows)
    data = weight.data if isinstance(weight, PackedMatrix) else weight

    def seconds(count: int) -> float:
        loaded.llmdist_streams(KINDS[_PLAIN.get(kind, kind)], count, count)
        loaded.llmdist_forget(data.data_ptr(), data.nbytes)
        start = time.perf_counter()
        loaded.llmdist_product(argument, x.data_ptr(), 1, y.data_ptr())
        return time.perf_counter() - start

    times: dict[int, list[float]] = {count: [] for count in (1, 2, 4, 8)}
    for _ in range(_TURNS):
        for count, found in times.items():
            found.append(seconds(count))
    return min(times, key=lambda count: statistics.median(times[count]))


def _matrix(kind: str, memory: Tensor, nbytes: int, columns: int = _COLUMNS) -> Weight:
    if kind in _PLAIN:
        return memory[:nbytes].view(_PLAIN[kind]).view(-1, columns)
    rows = nbytes // packed_bytes(kind, 8, columns) * 8
    return PackedMatrix(memory[: packed_bytes(kind, rows, columns)], kind, rows, columns)


def _faster(tokens: int, weight: Tensor) -> str:
    x = torch.zeros(tokens, _COLUMNS, dtype=weight.dtype)
    ours, theirs = _in_turn(lambda: product(x, weight), lambda: functional.linear(x, weight))
    favour = 1.0 if tokens >= _MANY else _FUSION  # whole blocks in one call save what Python costs between products
    return "kernel" if ours <= favour * theirs else "torch"


def _faster_packed(tokens: int, weight: PackedMatrix) -> str:
    """Return ``torch`` if unpacking to bf16 and torch's product beat the kernel."""
    x = torch.zeros(tokens, _COLUMNS, dtype=torch.bfloat16)
    ours, theirs = _in_turn(
        lambda: product(x, weight), lambda: functional.linear(x, unpack_quickly(weight, x.dtype))
    )  # fmt: skip
    return "kernel" if ours <= theirs else "torch"


def _in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Return the fewest seconds of either, timed in turn: other work on the machine hits both and decides nothing."""
    times: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()
    for _ in range(5):
        for found, step in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            step()
            found.append(time.perf_counter() - start)
        if sum(map(sum, times)) > 0.2:
            break
    return min(times[0]), min(times[1])


def _correct(kind: str) -> bool:
    """Whether the kernel's result on a small matrix is the float64 product, within the kind's rounding."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(72, 320, generator=generator)
    weight: Weight = dense.to(_PLAIN[kind]) if kind in _PLAIN else pack(dense, kind)
    values = weight.dequantise() if isinstance(weight, PackedMatrix) else weight
    for tokens in (1, _FEW, 13, 45):
        x = torch.randn(tokens, 320, generator=generator)
        exact = x.double() @ values.double().T
        if not (product(x, weight) - exact).norm() < (2e-2 if kind == "int4" else 1e-3) * exact.norm():
            return False
    return True
