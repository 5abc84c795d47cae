"""The machine's picture: no line through a card, no label cut, every link's rate told, for all known machines."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from llmdist.hardware.catalog import machine, machines
from llmdist.units import format_rate
from llmdist_widgets.status import CARD_HEIGHT, CARD_WIDTH, LABEL_LETTERS, label_lines, machine_svg

LINE = re.compile(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="axis" stroke-width="2"/>')
CARD = re.compile(rf'<rect x="(\d+)" y="(\d+)" width="{CARD_WIDTH}" height="{CARD_HEIGHT}"')


def drawn(name: str) -> tuple[str, list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Return a machine's picture, its links as lines and its cards as corners."""
    hardware = machine(name)
    svg = machine_svg(hardware, {}, {})
    links = [tuple(map(float, match.groups())) for match in LINE.finditer(svg)]
    links = [link for link in links if abs(link[2] - link[0]) > 1]  # upright lines are marks of caps
    return svg, links, [tuple(map(float, match.groups())) for match in CARD.finditer(svg)]


@pytest.mark.parametrize("name", machines())
def test_links_run_between_cards_and_all_rates_are_told(name: str) -> None:
    """A line has all of its length in the gap between two columns; a link without one stands in its card."""
    svg, links, cards = drawn(name)
    assert len(cards) == len(machine(name).devices) and "<path d=\"M1" not in svg
    for x1, _, x2, _ in links:
        left, right = min(x1, x2), max(x1, x2)
        assert not any(left + 1 < x + CARD_WIDTH and x < right - 1 for x, _ in cards)
    assert all(format_rate(link.bandwidth) in svg for link in machine(name).links)


@pytest.mark.parametrize("name", machines())
def test_no_label_of_a_known_machine_is_cut(name: str) -> None:
    """What a device is stands on two lines in whole words; a disk has its own label, not the host's."""
    for device in machine(name).devices:
        lines = label_lines(device)
        assert " ".join(lines) == device.label and all(len(line) <= LABEL_LETTERS for line in lines)
        assert device.kind != "disk" or "cores" not in device.label


def test_a_long_path_keeps_its_end() -> None:
    """Of a folder the end tells more; a long name without spaces is cut at the end."""
    disk = next(device for device in machine("cpu").devices if device.kind == "disk")
    (line,) = label_lines(replace(disk, label="/a/very/long/way/to/a/folder/of/models"))
    assert line.startswith("…") and line.endswith("/of/models") and len(line) == LABEL_LETTERS
    assert label_lines(replace(disk, kind="cpu", label="x" * 90))[1].endswith("…")


def test_rates_that_differ_are_told_each_way() -> None:
    """Where the way back is slower, both rates stand at the line with their direction."""
    hardware = machine("rtx4090")
    slower = [replace(link, bandwidth=7e9) if link.source == "cuda:0" else link for link in hardware.links]
    svg = machine_svg(replace(hardware, links=tuple(slower)), {}, {})
    assert "← 7 GB/s" in svg and "→ " in svg
