"""Problems of a machine with a GPU: what the driver holds, when an MLP may be shared, what a join costs."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from llmdist.hardware import HardwareProfile
from llmdist.hardware.profile import Device, Link
from llmdist.model.shapes import shape
from llmdist.planner import MaxIterations, solve
from llmdist.planner.build import DRIVER_BYTES, build_problem

GIB = 1 << 30


def machine(source: str = "measured") -> HardwareProfile:
    """Return a small PC."""
    devices = (
        Device("cpu", "cpu", 64 * GIB, 60 * GIB, 5e10, 1e12, 1e-5),
        Device("cuda:0", "cuda", 8 * GIB, 8 * GIB, 4e11, 5e13, 5e-6),
        Device("disk", "disk", 500 * GIB, 400 * GIB, 3e9),
    )
    links = (
        Link("disk", "cpu", 3e9, 1e-4), Link("cpu", "cuda:0", 1.2e10, 1e-5), Link("cuda:0", "cpu", 1.2e10, 2e-5),
        Link("disk", "cuda:0", 3e9, 1e-4),
    )  # fmt: skip
    return HardwareProfile("pc", devices, links, "2026-11-27", source)


def test_a_plan_leaves_what_the_driver_takes_of_a_real_gpu() -> None:
    """The cap is for the whole process; without one the same is taken of what is free."""
    profile = shape("qwen3-8b")
    real, known = (build_problem(profile, machine(source), vram="8GiB") for source in ("measured", "nominal"))
    assert real.cap("cuda:0") == 8 * GIB - DRIVER_BYTES
    assert known.cap("cuda:0") == 8 * GIB
    plan = solve(real, stop=MaxIterations(2))
    assert plan.prediction.peak_bytes["cuda:0"] + DRIVER_BYTES <= 8 * GIB
    assert build_problem(profile, machine()).cap("cuda:0") == 8 * GIB - DRIVER_BYTES


def test_a_plain_mlp_may_be_shared_where_there_is_a_gpu() -> None:
    """Not on a CPU alone, and not where a matrix cannot be taken apart; sharing beats streaming on this machine."""
    profile = shape("qwen3-8b")
    assert profile.shares_mlp
    problem = build_problem(profile, machine(), vram="8GiB")
    assert "split" in problem.modes
    assert problem.join_seconds == pytest.approx(5e-5)
    alone = replace(machine(), devices=(machine().devices[0], machine().devices[2]), links=machine().links[:1])
    assert "split" not in build_problem(profile, alone).modes
    assert "split" not in build_problem(replace(profile, shares_mlp=False), machine()).modes
    shared = solve(problem, stop=MaxIterations(4))
    streamed = solve(replace(problem, modes=("resident", "streamed")), stop=MaxIterations(4))
    assert any(choice.cpu_eighths for choice in shared.placement.assignments)
    assert shared.prediction.tpot_seconds < 0.95 * streamed.prediction.tpot_seconds


def test_where_a_gpu_has_no_bf16_the_plan_takes_fp16_and_says_so() -> None:
    """A T4's kernels compute in fp16: what was bf16, asked for or the checkpoint's own, becomes fp16."""
    pc = machine()
    old = replace(pc, devices=tuple(replace(d, has_bf16=d.kind != "cuda", label="Tesla T4") for d in pc.devices))
    for asked, found in ((None, ("fp16",)), ("bf16,int8", ("fp16", "int8")), (("int4",), ("int4",))):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert build_problem(shape("qwen3-8b"), old, precision=asked).precisions == found
        assert [str(one.message) for one in told] == (
            ["cuda:0 (Tesla T4) cannot compute in bf16: the plan takes fp16 in its place."] if "fp16" in found else []
        )
    assert build_problem(shape("qwen3-8b"), pc).precisions == ("bf16",)
    assert HardwareProfile.from_json(old.to_json()) == old


def test_a_limit_above_what_is_there_is_told() -> None:
    """Above the free memory it holds, with a sentence; above the whole, the whole is taken. Not of known machines."""
    for given, cap, words in (
        ("62GiB", 62 * GIB, r"62 GiB was given for cpu, which has 64 GiB, 60 GiB of them free now\.$"),
        ("100TiB", 64 * GIB, r"102400 GiB was given .* which has 64 GiB, 60 GiB of them free now: 64 GiB is taken\.$"),
    ):
        with pytest.warns(UserWarning, match=words):
            assert build_problem(shape("qwen3-8b"), machine(), ram=given).cap("cpu") == cap
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_problem(shape("qwen3-8b"), machine(), ram="60GiB", vram="8GiB")
        assert build_problem(shape("qwen3-8b"), machine("nominal"), ram="62GiB").cap("cpu") == 62 * GIB
