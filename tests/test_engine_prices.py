"""What only a running engine shows, measured with the bundled model on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmdist import engine_prices
from llmdist.engine_prices import with_engine_prices
from llmdist.hardware import HardwareProfile, hardware_profile


@pytest.fixture(scope="module")
def bare() -> HardwareProfile:
    """Return this machine's profile without what an engine adds."""
    found = hardware_profile()
    devices = tuple(replace(device, pass_seconds=0.0, handover_seconds=0.0) for device in found.devices)
    return replace(found, devices=devices)


def test_prices_are_found_that_make_the_prediction_what_was_measured(bare, monkeypatch) -> None:
    """With tokens that take 20 ms in memory and 80 ms streamed, plans of both predict just that."""
    times = iter([0.020, 0.080])
    monkeypatch.setattr(engine_prices, "_token_seconds", lambda session: next(times))
    seen = []
    plain = engine_prices.evaluate

    def noted(problem, placement):
        seen.append((plain(problem, placement).tpot_seconds, problem))
        return plain(problem, placement)

    monkeypatch.setattr(engine_prices, "evaluate", noted)
    priced = with_engine_prices(bare)
    assert 0.015 < priced.device("cpu").pass_seconds < 0.020
    assert seen[-1][0] == pytest.approx(0.080, rel=1e-3)
    handed = priced.device("cpu").handover_seconds
    assert handed == pytest.approx(seen[-1][1].devices[0].handover_seconds, rel=1e-3)
    assert 0.060 / 17 * 0.5 < handed < 0.060 / 17


def test_a_real_engine_takes_more_than_its_blocks(bare) -> None:
    """A pass costs something beside its blocks, and so does a streamed block beside its bytes."""
    priced = with_engine_prices(bare)
    assert 0 < priced.device("cpu").pass_seconds < 0.5
    assert 0 < priced.device("cpu").handover_seconds < 0.1
    assert priced.device("disk") == bare.device("disk") and priced.links == bare.links
