"""Pictures of lessons 1, 2, 3, 5 and 7: they parse, say what they show, and no label is cut or meets another."""

from __future__ import annotations

import math
from itertools import combinations
from xml.etree import ElementTree

import pytest

from llmdist.cost.timeline import predicted_timeline
from llmdist.hardware import machine as known
from llmdist.hardware.profile import Device, HardwareProfile, Link
from llmdist.lessons import hiding
from llmdist.lessons.one_token import Candidate
from llmdist.model import shapes
from llmdist_widgets import homes, lessons
from llmdist_widgets.lessons import Picture
from llmdist_widgets.svg import WIDTH

POINTS = {"one token": 1.0, "8 sequences": 8.0, "prompt of 256 tokens": 256.0}


def labels(picture: Picture) -> list[tuple[str, float, float, float]]:
    """Return (words, left, right, baseline) of every label, with the width that the theme's font is wide at most."""
    found = []
    for text in ElementTree.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}text"):
        words, x = text.text or "", float(text.attrib["x"])
        wide = (7.6 if text.attrib["class"].endswith("b") else 6.9) * len(words)
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[text.attrib.get("text-anchor", "start")]
        found.append((words, left, left + wide, float(text.attrib["y"])))
    return found


def cpu(bandwidth: float, flops: float) -> Device:
    """A processor with these rates."""
    return Device("cpu", "cpu", 1, 1, bandwidth=bandwidth, flops=flops)


def laptop(disk: float) -> HardwareProfile:
    """A processor of 30 GB/s and a disk."""
    devices = (cpu(30e9, 1e12), Device("disk", "disk", 1, 1))
    return HardwareProfile("laptop", devices, (Link("disk", "cpu", disk, 1e-4),), "2026-01-01", "measured")


def pictures() -> dict[str, Picture]:
    """One of each kind, with the words that it must say."""
    made = hiding.problem(slots=2)
    timelines = {
        name: predicted_timeline(made, hiding.streaming(made, 13, together))
        for name, together in (("side by side", True), ("spread", False))
    }
    ways = {batch: hiding.way_seconds(made, batch) for batch in (1, 16, 32)}
    return {
        "' barn' 75.0%": lessons.probabilities_picture([Candidate(1, " barn", 0.75), Candidate(2, " pond", 0.25)]),
        "KV cache": lessons.bytes_picture(shapes.shape("llama-2-13b"), "int8", 2048),
        "disk to cpu 3 GB/s": lessons.ladder_picture(laptop(3e9)),
        "disk to cpu 100 MB/s": lessons.ladder_picture(laptop(0.1e9)),
        "cuda:0 memory": lessons.ladder_picture(known("rtx4090")),
        "8 sequences: 96 GFLOP/s": lessons.roofline_picture(cpu(12e9, 1.2e12), POINTS),
        "8 sequences: 48 GFLOP/s": lessons.roofline_picture(cpu(12e9, 48e9), POINTS),
        "8 sequences: 224 GFLOP/s": lessons.roofline_picture(cpu(28e9, 1.46e12), POINTS),
        "spread: 29.1 ms, 0 ms": homes.timelines_picture(timelines, "One token, simulated"),
        "streamed: 17.78 ms for 1": lessons.ways_picture(ways),
        "b: nothing fits": lessons.race_picture({"a": [3.0, 2.0], "b": [math.inf, math.inf]}, 2.0),
    }


def test_pictures_say_what_they_show() -> None:
    """Each parses, and its words for a terminal hold the number that matters."""
    for words, picture in pictures().items():
        assert words in picture.words, picture.words


def test_no_label_leaves_the_picture_or_meets_another() -> None:
    """Seen in words: left and right edges lie inside, and two labels of one line do not overlap."""
    for name, picture in pictures().items():
        found = labels(picture)
        assert all(left >= 0 and right <= WIDTH for _, left, right, _ in found), name
        for (one, begin, end, y), (other, left, right, at) in combinations(found, 2):
            assert abs(y - at) >= 11 or end <= left or right <= begin, (name, one, other)


@pytest.mark.parametrize(("disk", "logarithmic"), [(3e9, False), (0.1e9, True)])
def test_the_ladder_is_true_to_scale_where_it_can_be(disk: float, logarithmic: bool) -> None:
    """A tenth of the bandwidth is a tenth of the bar; where a bar would vanish the scale is logarithmic, and said."""
    picture = lessons.ladder_picture(laptop(disk))
    assert ("logarithmic" in picture.svg) is logarithmic
    drawn = ElementTree.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}rect")
    bars = [float(bar.attrib["width"]) for bar in drawn if bar.attrib["height"] == "18.0"]
    assert (bars[1] / bars[0] == pytest.approx(disk / 30e9, rel=0.01)) is not logarithmic
