"""OLMo 2: norms after attention and MLP instead of before, and on q and k over all heads together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import NORMS_AFTER, Family, Fields

__all__ = ["OLMO2"]


def _olmo2(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {"qk_norm": "all"}


OLMO2 = Family("olmo2", {"rms_norm_eps": 1e-5}, _olmo2, NORMS_AFTER)
