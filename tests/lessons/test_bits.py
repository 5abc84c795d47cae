"""Lesson 6: scores come from the engine, the check gives the reason, and what the lesson says in words holds."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
import torch

from llmdist.errors import PlanError
from llmdist.kernels.packing import GROUPS, pack, packed_bytes
from llmdist.lessons import bits, bits_made
from llmdist.lessons.bits_judge import Judge
from llmdist_widgets import bits as show

BUDGET = 1_720_000


@pytest.fixture(scope="module")
def judge() -> Judge:
    """The lesson's judge, with fewer tales."""
    return bits.judge(tales=6)


def test_bytes_are_the_engines_own(judge: Judge) -> None:
    """bf16 is two bytes for each weight, and int8 and int4 are about a half and a quarter of it."""
    full, half, quarter = (judge.nbytes(judge.everything(p)) for p in ("bf16", "int8", "int4"))
    assert sum(judge.block_bytes(name, "int8") for name in judge.blocks) == half
    assert full == judge.nbytes({}) == 2 * judge.checkpoint.profile.parameters
    assert 1.9 < full / half < 2 and 3.4 < full / quarter < 3.6


def test_bf16_is_the_reference_and_a_score_is_remembered(judge: Judge) -> None:
    """No block chosen: no divergence, the published loss, every answer exact; named or not, bf16 is the same."""
    score = judge.score({})
    assert score.divergence == 0 and score.exact == 1 and score.loss == pytest.approx(0.17, abs=0.02)
    assert judge.score(judge.everything("bf16")) is score


def test_int4_keeps_the_answers_and_int8_is_far_closer(judge: Judge) -> None:
    """All answers stay exact; the loss moves under 2 %; int8 diverges over 50 times less than int4."""
    full, half, quarter = (judge.score(judge.everything(p)) for p in ("bf16", "int8", "int4"))
    assert full.exact == half.exact == quarter.exact == 1
    assert abs(quarter.loss / full.loss - 1) < 0.02
    assert quarter.divergence > 50 * half.divergence > 0


def test_two_blocks_do_nearly_all_the_damage_and_damages_add_up(judge: Judge) -> None:
    """Head and last MLP are over 95 % of the sum, the head most; the sum is what int4 everywhere costs, within 20 %."""
    alone = bits.sensitivity(judge)
    total = sum(alone.values())
    assert sorted(alone, key=lambda name: -alone[name])[:2] == ["head", "layers.7.mlp"]
    assert alone["head"] > 0.5 * total and alone["head"] + alone["layers.7.mlp"] > 0.95 * total
    assert judge.score(judge.everything("int4")).divergence == pytest.approx(total, rel=0.2)


def test_the_greedy_choice_beats_int8_everywhere_with_fewer_bytes(judge: Judge) -> None:
    """Within the lesson's budget it is better than int8 everywhere, which takes over 1.4 times the bytes."""
    found = judge.score(bits.greedy(judge, BUDGET))
    half = judge.score(judge.everything("int8"))
    assert found.nbytes <= BUDGET < half.nbytes / 1.4 and found.divergence < half.divergence


def test_a_choice_is_checked(judge: Judge) -> None:
    """bf16 and int8 are over, int4 and guesses are behind, the greedy passes; no verdict names a block."""
    best = bits.greedy(judge, BUDGET)
    assert bits.check_choice(best, judge, BUDGET)
    for precision in ("bf16", "int8"):
        words = bits.check_choice(judge.everything(precision), judge, BUDGET).words
        assert f"{judge.nbytes(judge.everything(precision)) - BUDGET} bytes over" in words
    quarter = judge.everything("int4")
    near = quarter | {"head": "int8", "layers.7.mlp": "int8"}
    for wrong in (quarter, quarter | {"layers.0.attention": "bf16"}, quarter | {"head": "bf16"}, near):
        verdict = bits.check_choice(wrong, judge, BUDGET)
        assert not verdict and "behind" in verdict.words and "head" not in verdict.words


def test_a_wrong_name_is_a_sentence(judge: Judge) -> None:
    """Unknown blocks (the embedding owns no weights), precisions, and what is no dict."""
    assert "'layer.0' is no block" in bits.check_choice({"layer.0": "int4"}, judge, BUDGET).words
    assert "'embed' is no block" in bits.check_choice({"embed": "int4"}, judge, BUDGET).words
    assert "'int2' for head is no precision" in bits.check_choice({"head": "int2"}, judge, BUDGET).words
    assert "4 for head is no precision" in bits.check_choice({"head": 4}, judge, BUDGET).words
    assert "0 is no block" in bits.check_choice({0: "int4"}, judge, BUDGET).words
    assert "over the budget" in bits.check_choice({}, judge, BUDGET).words
    assert "give a dict" in bits.check_choice(["int4"], judge, BUDGET).words
    with pytest.raises(PlanError, match="no block"):
        judge.score({"tail": "int4"})


def test_rounding_by_hand_is_what_packing_does(judge: Judge) -> None:
    """Scale, code and weight back of the notebook are those of the packed bytes."""
    matrix = judge.weights("layers.7.mlp", "down")
    group = matrix[0, :32]
    scale = group[group.abs().argmax()] / -8
    by_hand = scale * (group / scale).round().clamp(-8, 7)
    assert torch.equal(by_hand, pack(matrix, "int4").dequantise()[0, :32])
    assert float((by_hand - group).abs().max()) <= abs(float(scale)) * 1.001


def test_larger_groups_take_fewer_bits_and_err_more(judge: Judge) -> None:
    """Over 32, 64 and 128 weights per scale: bits per weight fall, the error rises; int8 errs 7 times less."""
    matrix = judge.weights("layers.7.mlp", "down")
    errors = [float((pack(matrix, "int4", group).dequantise() - matrix).norm() / matrix.norm()) for group in GROUPS]
    assert errors == sorted(errors) and errors[0] == pytest.approx(0.11, rel=0.2)
    bits_each = [8 * packed_bytes("int4", 8, 4096, group) / (8 * 4096) for group in GROUPS]
    assert bits_each == [4.5, 4.25, 4.125]
    assert 7 * float((pack(matrix, "int8").dequantise() - matrix).norm() / matrix.norm()) < errors[0]


def test_four_made_bits_are_the_packed_ones_and_one_is_a_cliff(judge: Judge) -> None:
    """Rounding to 4 bits equals unpacked int4; fewer bits cost ever more; all answers stay at 2 bits and go at 1."""
    matrix = judge.weights("layers.7.mlp", "down")
    assert torch.equal(bits_made.rounded(matrix, 4), pack(matrix, "int4").dequantise())
    four, three, two, one = (bits_made.made_score(judge, bits) for bits in (4, 3, 2, 1))
    packed = judge.score(judge.everything("int4"))
    assert four.divergence == pytest.approx(packed.divergence, rel=0.1)
    assert four.nbytes == pytest.approx(packed.nbytes, rel=0.03)
    assert one.divergence > 50 * two.divergence > 100 * three.divergence > 200 * four.divergence
    assert one.nbytes < two.nbytes < three.nbytes < four.nbytes
    assert one.loss > math.log(judge.checkpoint.profile.vocab_size)  # worse than all tokens alike
    assert three.exact == two.exact == 1 and one.exact == 0


def test_pictures_are_svg_and_say_what_they_show(judge: Judge) -> None:
    """Each parses, and its words hold the numbers that matter; no divergence has a place too."""
    full, quarter = judge.score({}), judge.score(judge.everything("int4"))
    pictures = {
        "2 of 16 levels": show.rounding_picture([0.8, 0.11], -0.1, [-8, -1]),
        "head 0.5000": show.sensitivity_picture({"head": 0.5, "layers.0.mlp": 0.0}),
        f"int4: {quarter.nbytes / 1e6:.2f} MB": show.quality_picture({"bf16": full, "int4": quarter}, BUDGET),
    }
    for words, picture in pictures.items():
        ElementTree.fromstring(picture.svg)
        assert words in picture.words
    ElementTree.fromstring(show.quality_picture({"bf16": full}).svg)
