"""A placement in words stays short, however many layers it has."""

from __future__ import annotations

from llmdist.planner.placement import Assignment, Placement


def test_equal_choices_share_one_line_with_ranges_of_layers() -> None:
    """Alternating layers of an 80-layer model give two lines; embedding and head keep their names."""
    blocks = ["embed", *(f"layers.{i}.{kind}" for i in range(80) for kind in ("attention", "mlp")), "head"]
    here, there = Assignment("cpu", "cpu", "bf16"), Assignment("cpu", "disk", "bf16")
    streamed = {f"layers.{i}.mlp" for i in range(0, 80, 2)}
    placement = Placement(tuple(blocks), tuple(there if name in streamed else here for name in blocks))
    first, second = placement.in_words().splitlines()
    assert first.startswith("resident, cpu bf16: 122 blocks: embed; attention 0-79; mlp 1, 3, 5")
    assert first.endswith("79; head")
    assert second.startswith("streamed, disk>cpu bf16: 40 blocks: mlp 0, 2, 4")
