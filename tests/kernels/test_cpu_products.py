"""Every kernel against float64: odd shapes, poisoned outputs, batches, threads, other builds and no compiler."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from llmdist.kernels import PackedMatrix, compile, cpu, linear, linear_reference, pack, packed_bytes, tune

KINDS = [torch.float32, torch.bfloat16, torch.float16, "int8", "int4/32", "int4/64", "int4/128"]
SHAPES = [(40, 80), (33, 50), (1, 7), (8, 32), (17, 1000), (48, 264), (259, 513), (64, 5632)]
#: Error of one result, as a share of |x| |w|: float32 sums, and the rounding of activations to int16 or int8.
LIMITS = {"fp32": 1e-6, "int8": 1e-4, "int4": 4e-3}

needs_kernels = pytest.mark.skipif(compile.compiler() is None, reason="no C++ compiler")


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget the loaded library before and after."""

    def forget() -> None:
        compile.reset()
        cpu.kernels.cache_clear()
        tune.retune()

    forget()
    yield
    forget()


def weight_of(kind: torch.dtype | str, rows: int, columns: int, seed: int = 0) -> cpu.Weight:
    """Return random weights, quantised where the kind says so."""
    dense = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    if isinstance(kind, torch.dtype):
        return dense.to(kind)
    name, _, group = kind.partition("/")
    return pack(dense, name, int(group or 32))


def exact(x: Tensor, weight: cpu.Weight) -> Tensor:
    """Return the float64 product with what the stored bytes mean."""
    values = weight.dequantise() if isinstance(weight, PackedMatrix) else weight
    return x.double() @ values.double().T


def as_kept(x: Tensor, weight: cpu.Weight) -> Tensor:
    """Return `x` as the kernel multiplies it: for 16-bit weights, up to 32 tokens, fp16 near the top of its range."""
    if isinstance(weight, PackedMatrix) or weight.dtype == torch.float32 or len(x) >= 33:
        return x
    power = torch.exp2(14 - torch.frexp(x.abs().amax(dim=1, keepdim=True)).exponent.double() + 1)
    return (x.double() * power).half().double() / power


def error(y: Tensor, x: Tensor, weight: cpu.Weight) -> float:
    """Return the largest error of `y` as a multiple of what is allowed; NaN counts as infinite."""
    values = weight.dequantise() if isinstance(weight, PackedMatrix) else weight
    scale = x.double().norm(dim=1)[:, None] * values.double().norm(dim=1)
    allowed = LIMITS[weight.precision if isinstance(weight, PackedMatrix) else "fp32"]
    return float(((y - exact(as_kept(x, weight), weight)).abs() / (allowed * scale)).nan_to_num(torch.inf).max())


def call(x: Tensor, weight: cpu.Weight, y: Tensor) -> None:
    """Run the kernel into `y` directly."""
    library = cpu.kernels()
    assert library is not None
    library.llmdist_product(cpu.matrix_argument(weight), x.data_ptr(), len(x), y.data_ptr())


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_products_equal_float64_and_write_every_output_once(kind: torch.dtype | str) -> None:
    """Odd shapes and token counts, with outputs of NaN before and a guard behind."""
    for rows, columns in SHAPES:
        weight = weight_of(kind, rows, columns)
        for tokens in (1, 2, 3, 4, 5, 7, 8, 32, 33, 49):
            x = torch.randn(tokens, columns, generator=torch.Generator().manual_seed(tokens))
            buffer = torch.full((tokens * rows + 64,), torch.nan)
            call(x, weight, buffer)
            assert error(buffer[: tokens * rows].view(tokens, rows), x, weight) <= 1, (rows, columns, tokens)
            assert buffer[tokens * rows :].isnan().all()


@needs_kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_long_prompts_equal_float64(kind: torch.dtype) -> None:
    """More tokens than pass a panel at once (520 at most), with rows and columns that end inside a panel."""
    weight, x = weight_of(kind, 71, 413), torch.randn(1021, 413, generator=torch.Generator().manual_seed(2))
    buffer = torch.full((1021 * 71 + 64,), torch.nan)
    call(x, weight, buffer)
    assert error(buffer[: 1021 * 71].view(1021, 71), x, weight) <= 1
    assert buffer[1021 * 71 :].isnan().all()


@needs_kernels
def test_every_row_is_computed_whoever_comes_late() -> None:
    """Threads that sleep, that are more than the cores, or of which none is left, leave no row out."""
    library = cpu.kernels()
    assert library is not None
    weight, x = weight_of(torch.bfloat16, 4099, 512), torch.randn(1, 512)
    wanted = torch.empty(1, 4099)
    try:
        library.llmdist_threads(1)
        call(x, weight, wanted)
        for turn in range(300):
            library.llmdist_threads((2, 7, 1, 3)[turn // 10 % 4])
            found = torch.full((1, 4099), torch.nan)
            call(x, weight, found)
            assert torch.equal(found, wanted), turn
            if turn % 10 == 9:
                time.sleep(0.001)  # longer than a worker waits before it sleeps
    finally:
        library.llmdist_threads(torch.get_num_threads())


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_token_gives_the_same_bits_alone_and_in_a_batch(kind: torch.dtype | str) -> None:
    """Every count of streams and threads gives one and the same result as a batch of 32, the most that promises it."""
    library = cpu.kernels()
    assert library is not None
    weight, x = weight_of(kind, 259, 513), torch.randn(32, 513)
    whole = torch.empty(32, 259)
    call(x, weight, whole)
    number = cpu.matrix_argument(weight).kind
    try:
        for threads in (1, 2, 3):
            for streams in (1, 2, 4):
                library.llmdist_threads(threads)
                library.llmdist_streams(number, streams, streams)
                for t in (*range(9), 31):
                    one = torch.empty(1, 259)
                    call(x[t : t + 1].contiguous(), weight, one)
                    assert torch.equal(one[0], whole[t])
    finally:
        library.llmdist_threads(torch.get_num_threads())
        tune.retune()
        tune.choices()


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_tokens_beyond_the_range_of_fp16_keep_their_bits(dtype: torch.dtype) -> None:
    """One huge number beside small ones, all tiny, all zero: as exact as others; what is not finite stays so."""
    weight = weight_of(dtype, 16, 200)
    outlier = torch.randn(200)
    outlier[17] = 3e6
    for x in (outlier, torch.randn(200) * 1e-32, torch.zeros(200), torch.randn(200) * 1e30):
        for tokens in (1, 2):
            y = torch.empty(tokens, 16)
            call(x.repeat(tokens, 1), weight, y)
            if x.any():
                assert error(y, x.repeat(tokens, 1), weight) <= 1
            else:
                assert not y.any()
    for value in (torch.inf, torch.nan):
        outlier[3], y = value, torch.empty(1, 16)
        call(outlier[None], weight, y)
        assert not y.isfinite().any()


@needs_kernels
def test_bias_and_types_go_through_linear() -> None:
    """`linear` adds the bias and returns the type of the activations, for each type of weights."""
    for kind in KINDS:
        weight, bias = weight_of(kind, 24, 96), torch.randn(24).bfloat16()
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(2, 3, 96).to(dtype)
            y = linear(x, weight, bias if not isinstance(kind, torch.dtype) else bias.to(kind))
            expected = exact(x.reshape(6, 96), weight).view(2, 3, 24) + bias.double()
            assert y.dtype == dtype and y.shape == (2, 3, 24)
            assert (y - expected).norm() <= 2e-2 * expected.norm()


@needs_kernels
def test_an_idle_pool_uses_no_processor() -> None:
    """Half a second after a product the process has used almost no processor time."""
    linear(torch.randn(1, 512), weight_of("int8", 512, 512))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


@needs_kernels
def test_one_thread_is_lent_and_given_back() -> None:
    """Inside, neither torch nor the kernels start a second thread; after an error too the old count is back."""
    count = torch.get_num_threads()
    with pytest.raises(RuntimeError), tune.one_thread():
        assert torch.get_num_threads() == 1
        weight, x = weight_of("int8", 512, 2048), torch.randn(4, 2048)
        before, alone = time.process_time(), time.thread_time()
        for _ in range(50):
            linear(x, weight)
        assert time.thread_time() - alone > 0.95 * (time.process_time() - before)
        raise RuntimeError
    assert torch.get_num_threads() == count


@needs_kernels
@pytest.mark.parametrize("build", ["NARROW", "WIDE"])
def test_other_builds_compute_the_same(build: str, fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The registers of 32 and 64 bytes that other processors get are within the same limits."""
    monkeypatch.setenv("LLMDIST_CXXFLAGS", f"-DLLMDIST_{build} -O1")
    monkeypatch.setenv("LLMDIST_CACHE", str(tmp_path))
    for kind in KINDS:
        weight = weight_of(kind, 33, 300)
        for tokens in (3, 45):
            x, y = torch.randn(tokens, 300), torch.empty(tokens, 33)
            call(x, weight, y)
            assert error(y, x, weight) <= 1
        if isinstance(weight, PackedMatrix):
            panels = weight.rows_between(0, 32)
            assert torch.equal(cpu.unpack_quickly(panels, torch.bfloat16), panels.dequantise(torch.bfloat16))


def test_without_a_compiler_torch_computes_and_says_so_once(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note names the reason; the results are those of the definition."""
    monkeypatch.setattr(compile, "compiler", lambda: None)
    weight, x = weight_of("int4/32", 40, 80), torch.randn(3, 80)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler was found"):
        y = linear(x, weight)
    assert torch.equal(y, linear_reference(x, weight))
    assert torch.allclose(y.double(), exact(x, weight), rtol=1e-4, atol=1e-4)


def test_a_compiler_that_fails_leaves_torch_and_no_file(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A compiler that ends with an error is named in the note; the cache holds nothing half made."""
    monkeypatch.setenv("LLMDIST_CACHE", str(tmp_path))
    monkeypatch.setattr(compile, "_FLAGS", ("--no-such-flag",))
    if compile.compiler() is None:
        pytest.skip("no C++ compiler")
    with pytest.warns(UserWarning, match="could not be compiled"):
        assert compile.library() is None
    assert [path.suffix for path in (tmp_path / "kernels").iterdir()] in ([], [".lock"])


@needs_kernels
def test_what_began_to_compile_is_waited_for_and_not_compiled_again(  # type: ignore[no-untyped-def]
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """`begin` returns at once; `library` gets the file that it makes; nothing is started where the file is there."""
    monkeypatch.setenv("LLMDIST_CACHE", str(tmp_path))
    monkeypatch.setenv("LLMDIST_CXXFLAGS", "-DLLMDIST_PORTABLE -O0")
    calls: list[str] = []
    plain = compile._compile

    def compiling() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "compile"]

    monkeypatch.setattr(compile, "_compile", lambda tool, target: (calls.append(tool), plain(tool, target))[1])
    assert not compile.is_built()
    compile.begin()
    assert compile.library() is not None and len(calls) == 1 and compile.is_built()
    for thread in compiling():  # the file is there before the thread has cleared up after itself
        thread.join(60)
    compile.begin()
    assert not compiling()
    (tmp_path / "kernels").rename(tmp_path / "gone")  # a failure in the background is silent, and met again
    monkeypatch.setattr(compile, "_FLAGS", ("--no-such-flag",))
    compile.begin()
    compile.reset()
    with pytest.warns(UserWarning, match="could not be compiled"):
        assert compile.library() is None


@pytest.mark.parametrize("kind", ["int8", "int4/32", "int4/64", "int4/128"])
def test_packing_keeps_weights_within_half_a_step(kind: str) -> None:
    """Each weight is at most half a step from what is stored, and its bytes are what `packed_bytes` says."""
    name, _, group = kind.partition("/")
    dense = torch.randn(21, 200, generator=torch.Generator().manual_seed(1))
    packed = pack(dense, name, int(group or 32))
    assert packed.data.numel() == packed_bytes(name, 21, 200, packed.group)
    if name == "int8":
        step = dense.abs().amax(1, keepdim=True) / 127
        assert ((packed.dequantise() - dense).abs() <= 0.501 * step).all()
        return
    padded = torch.zeros(21, -(-200 // packed.group) * packed.group)
    padded[:, :200] = dense
    step = (padded.view(21, -1, packed.group).abs().amax(2) / 8).repeat_interleave(packed.group, 1)[:, :200]
    assert ((packed.dequantise() - dense).abs() <= 1.01 * step).all()  # the far end of the range is one step short
    assert ((packed.dequantise() - dense).abs() > 0.51 * step).float().mean() < 0.1


@needs_kernels
@pytest.mark.parametrize("kind", ["int8/32", "int4/32", "int4/64", "int4/128"])
def test_compiled_packing_gives_the_bytes_of_the_definition(kind: str) -> None:
    """Random rows, rows of zeros, ties of the largest weight and halves that round to even."""
    name, _, group = kind.partition("/")
    dense = torch.randn(40, 256, generator=torch.Generator().manual_seed(2))
    dense[3] = 0
    dense[5, :64] = torch.tensor([8.0, -8.0, 0.5, 1.5, 2.5, -0.5, -1.5, 7.5]).repeat(8)
    expected = pack(dense, name, int(group)).data
    out = torch.full_like(expected, 255)
    assert torch.equal(cpu.pack_quickly(dense, name, int(group), out).data, expected)


@needs_kernels
@pytest.mark.parametrize("kind", ["int8/32", "int4/32", "int4/64", "int4/128"])
@pytest.mark.parametrize("rows, columns", [(8, 32), (16, 320), (24, 50), (8, 7), (40, 2000)])
def test_compiled_unpacking_gives_the_bits_of_the_definition(kind: str, rows: int, columns: int) -> None:
    """Odd columns, several groups, and rows that are no whole panel (left to torch)."""
    weight = weight_of(kind, rows, columns)
    assert isinstance(weight, PackedMatrix)
    assert torch.equal(cpu.unpack_quickly(weight, torch.bfloat16), weight.dequantise(torch.bfloat16))
    odd = weight_of(kind, rows - 3, columns, seed=1)
    assert isinstance(odd, PackedMatrix)
    assert torch.equal(cpu.unpack_quickly(odd, torch.bfloat16), odd.dequantise(torch.bfloat16))


@needs_kernels
@pytest.mark.parametrize("kind", ["int8/32", "int4/64"])
def test_many_tokens_are_multiplied_by_unpacked_weights_where_that_won(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways stay near float64; a few tokens never take the detour, nor do float32 activations."""
    weight = weight_of(kind, 72, 640)
    assert isinstance(weight, PackedMatrix)
    unpacked: list[int] = []
    plain = cpu.unpack_quickly

    def noted(matrix: PackedMatrix, dtype: torch.dtype) -> Tensor:
        unpacked.append(matrix.rows)
        return plain(matrix, dtype)

    room = importlib.import_module("llmdist.kernels.linear")  # the package has a function of that name
    monkeypatch.setattr(room, "unpack_quickly", noted)
    for many in ("kernel", "torch"):
        choice = tune.Choice(4, 4, "kernel", "kernel", many, many)
        monkeypatch.setattr(room, "choices", lambda choice=choice: {weight.precision: choice})
        for tokens, dtype in ((1, torch.bfloat16), (32, torch.bfloat16), (80, torch.float32), (80, torch.bfloat16)):
            unpacked.clear()
            x = torch.randn(tokens, 640, generator=torch.Generator().manual_seed(3)).to(dtype)
            y, right = linear(x, weight).double(), exact(x, weight)
            assert (y - right).norm() < 1.2e-2 * right.norm()
            assert bool(unpacked) == (many == "torch" and tokens == 80 and dtype == torch.bfloat16)


def test_rows_of_a_packed_matrix_are_views_of_it() -> None:
    """A run of panels is the matrix of its rows."""
    packed = weight_of("int4/32", 40, 64)
    assert isinstance(packed, PackedMatrix)
    part = packed.rows_between(16, 33)
    assert torch.equal(part.dequantise(), packed.dequantise()[16:33])
    assert part.data.data_ptr() >= packed.data.data_ptr()


@needs_kernels
def test_choices_are_timed_once_and_kept(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The second process reads the file; a damaged file is timed again."""
    (tmp_path / "kernels").mkdir()
    monkeypatch.setattr(tune, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(tune, "_is_idle", lambda: True)
    first = tune.choices()
    assert set(first) == {"fp32", "bf16", "fp16", "int8", "int4"}
    tune.retune()
    monkeypatch.setattr(tune, "_timed", lambda: pytest.fail("timed again"))
    assert tune.choices() == first
    tune.retune()
    next((tmp_path / "kernels").glob("*.json")).write_text("{")
    monkeypatch.setattr(tune, "_timed", lambda: first)
    assert tune.choices() == first


@needs_kernels
def test_choices_of_a_busy_machine_serve_until_it_is_idle(  # type: ignore[no-untyped-def]
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """What was timed beside other work is kept for other processes, and timed again by the first that finds quiet."""
    monkeypatch.setattr(tune, "cache_folder", lambda: tmp_path)
    timed: list[int] = []
    kinds = ("fp32", "bf16", "fp16", "int8", "int4")
    made = dict.fromkeys(kinds, tune.Choice(2, 2, "kernel", "kernel", "torch", "torch"))
    monkeypatch.setattr(tune, "_timed", lambda: (timed.append(1), made)[1])
    for idle, expected in ((False, 1), (False, 1), (True, 2), (True, 2), (False, 2)):
        monkeypatch.setattr(tune, "_is_idle", lambda idle=idle: idle)
        tune.retune()
        assert tune.choices() == made and len(timed) == expected
