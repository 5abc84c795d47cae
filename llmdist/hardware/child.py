"""The child process that measures: says its progress and the profile as JSON lines.

    {"what": "disk: reading", "fraction": 0.5}      {"warning": sentence}
    {"profile": {...}}   or   {"error": sentence}   ends it

It leaves interrupts to the process that started it.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import HardwareError, LlmdistError
from ..kernels.compile import is_built, library
from .measure import measure
from .profile import HardwareProfile

__all__ = ["main"]

BEFORE_ENGINE = 0.8


def main(folder: Path, threads: int) -> None:
    """Measure this machine with `threads` threads and print what was found."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place: _say(warning=str(message))
        try:
            if not is_built():
                _say(what="kernels: compiling for this processor", fraction=0.0)
            library()
            profile = measure(folder, _before_engine)
            _say(what="cpu: tokens through the engine", fraction=BEFORE_ENGINE)
            profile = _with_engine_prices(profile)
            _say(what="done", fraction=1.0)
        except HardwareError as error:
            _say(error=str(error))
        else:
            _say(profile=profile.to_json())


def _before_engine(what: str, fraction: float) -> None:
    if fraction < 1:  # the engine's tokens come after this
        _say(what=what, fraction=fraction * BEFORE_ENGINE)


def _with_engine_prices(profile: HardwareProfile) -> HardwareProfile:
    """Return the profile with what only a running engine shows; as it is where none can run."""
    from ..engine_prices import with_engine_prices  # the whole product, of which this room is a part

    with suppress(LlmdistError):
        return with_engine_prices(profile)
    return profile


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
