"""The kernels compile for every architecture, and what the assembler says of them stays within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llmdist.errors import HardwareError, LlmdistError
from llmdist.kernels import cuda_module, nvrtc
from llmdist.kernels.cuda_module import CudaModule, compile_cached
from llmdist.kernels.instances import Instance
from llmdist.kernels.nvrtc import ARCHITECTURES, Nvrtc, find_nvrtc
from llmdist.kernels.resources import early_loads, find_disassembler, loops, measure_resources, representative_instances

needs_nvrtc = pytest.mark.skipif(
    find_nvrtc() is None, reason="no NVRTC found: pip install nvidia-cuda-nvrtc to compile the CUDA kernels"
)
#: 128 registers let two CTAs of 256 threads share a multiprocessor of every architecture.
MOST_REGISTERS = 128
#: What a GPU can issue while its memory brings one weight, for the one with the least room (an H200), with int4.
MOST_INSTRUCTIONS = {"Int4<128>": 4.1, "Int8": 8.2, "Dense": 16.4}


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_fit_every_architecture(architecture: int) -> None:
    """No spills, two CTAs per multiprocessor, 128-bit loads for all weights, instructions per weight under the cap."""
    instances = representative_instances("Fp16" if architecture < 80 else "Bf16", full=False)
    compiled = Nvrtc().compile(instances, architecture)
    disassembler = find_disassembler()
    for row in measure_resources(compiled, instances, architecture, disassembler):
        name = row.instance.expression
        assert (row.spill_bytes, row.stack_bytes) == (0, 0), name
        assert row.registers <= MOST_REGISTERS, name
        if disassembler and row.instance.kernel in ("residual_gemv", "norm_gateup_swiglu"):
            assert row.loop is not None, name
            form = row.instance.arguments[1]
            bits = {"Dense": 16, "Int8": 8}.get(form, 4)
            assert row.loop.wide_loads * 128 >= row.loop.weights * bits, name
            assert row.loop.instructions_per_weight <= MOST_INSTRUCTIONS[form], name


def _loads_of_weights(instance: Instance) -> int:
    """Return the loads that a projection makes of its first weights and their scales; no other kernel makes any."""
    if instance.kernel not in OVERLAPPING:
        return 0
    return 8  # of 16 bytes; with int4 half of them, and as many scales


OVERLAPPING = ("norm_qkv", "norm_gateup_swiglu", "residual_gemv", "lm_head")
needs_listing = pytest.mark.skipif(find_disassembler() is None, reason="no nvdisasm: pip install nvidia-cuda-nvdisasm")


@needs_nvrtc
@needs_listing
@pytest.mark.parametrize("architecture", [90, 100, 120])
def test_a_kernel_that_begins_early_has_asked_for_weights_alone(architecture: int) -> None:
    """What the kernel before writes is loaded behind the wait: one load ahead of it gave wrong tokens on a device."""
    instances = [
        Instance(kernel, ("Bf16", form, tiles, last))
        for kernel in OVERLAPPING
        for form in ("Dense", "Int8", "Int4<32>")
        for tiles, last in (("1", "true"), ("1", "false"))
    ]
    instances += [Instance("rms_norm", ("Bf16",)), Instance("rope_append", ("Bf16", "128"))]
    instances += [Instance("combine", ("Bf16", "128")), Instance("flash_decode", ("Bf16", "128", "4"))]
    compiled, disassembler = Nvrtc().compile(instances, architecture), find_disassembler()
    assert disassembler is not None
    found = early_loads(compiled, disassembler)
    for instance in instances:
        assert found[compiled.names[instance.expression]] == _loads_of_weights(instance), instance.expression


@needs_nvrtc
@needs_listing
def test_a_wait_that_comes_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is loaded ahead of it."""
    texts = dict(nvrtc.headers())
    wait, source = "    wait_for_previous();\n", texts["norm_qkv.cu"]
    end = source.index("    multiply<")
    texts["norm_qkv.cu"] = source[:end].replace(wait, "") + wait + source[end:]
    monkeypatch.setattr(nvrtc, "headers", lambda: texts)
    instance, disassembler = Instance("norm_qkv", ("Bf16", "Int8", "1", "true")), find_disassembler()
    assert disassembler is not None
    compiled = Nvrtc().compile([instance], 90)
    assert early_loads(compiled, disassembler)[compiled.names[instance.expression]] > _loads_of_weights(instance)


@needs_nvrtc
def test_machine_code_is_kept_under_what_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second request compiles nothing; another architecture or source does."""
    instances, compiler = [Instance("rms_norm", ("Fp16",))], Nvrtc()
    first = compile_cached(compiler, instances, 75)
    calls = []
    compile_again = compiler.compile
    monkeypatch.setattr(compiler, "compile", lambda *a: calls.append(a) or compile_again(*a))
    assert compile_cached(compiler, instances, 75) == first
    assert not calls
    compile_cached(compiler, instances, 80)
    monkeypatch.setattr(cuda_module, "source_hash", lambda: "changed")
    compile_cached(compiler, instances, 75)
    assert len(calls) == 2


@needs_nvrtc
def test_a_compiler_error_carries_the_log() -> None:
    """What NVRTC said is in the message."""
    with pytest.raises(LlmdistError, match=r"identifier|undefined"):
        Nvrtc().compile([Instance("rms_norm", ("Nonsense",))], 80)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_asking_for_a_gpu_that_is_not_there_is_one_sentence() -> None:
    """The sentence says what was asked, what was found and what to do."""
    with pytest.raises(HardwareError, match=r"cuda:0 was asked for.*no CUDA device.*plan with cpu and disk"):
        CudaModule([Instance("rms_norm", ("Bf16",))])


def test_the_multiplying_loop_is_found_in_a_listing() -> None:
    """Labels, a backward branch, wide loads and tensor-core instructions of a short listing."""
    listing = Path(__file__).with_name("listing.sass").read_text()
    loop = loops(listing)["kernel"]
    assert (loop.instructions, loop.wide_loads, loop.weights) == (4, 1, 8)
