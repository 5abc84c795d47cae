"""Colours of every view: cividis for quantities, Okabe-Ito for kinds, and light and dark surfaces.

Both palettes can be told apart with the common colour vision deficiencies. HTML follows the
notebook's ``--jp-*`` variables; an SVG inside an ``<img>`` cannot see them, so it paints its own
opaque background and follows the colour scheme of the page or system.
"""

from __future__ import annotations

__all__ = ["COMPUTE", "COPY", "DEMAND", "HTML_STYLE", "PASS", "RESIDENT", "SHARED", "STREAMED", "SVG_STYLE", "cividis"]

RESIDENT = "#0072B2"  # Okabe-Ito blue
STREAMED = "#E69F00"  # orange
SHARED = "#CC79A7"  # reddish purple: split between GPU and CPU
DEMAND = "#56B4E9"  # sky blue: experts that are read when the router chose them
COMPUTE = RESIDENT
COPY = STREAMED
PASS = "#009E73"  # bluish green: the fixed price of a pass

_CIVIDIS = (
    (0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115),
    (138, 134, 120), (165, 156, 116), (195, 179, 105), (225, 204, 85), (254, 232, 56),
)  # fmt: skip

SVG_STYLE = (
    "svg{font:13px system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color-scheme:light dark}"
    ".bg{fill:#fff}.ink{fill:#1b1f24}.soft{fill:#57606a}.grid{stroke:#d8dee4}.axis{stroke:#57606a}"
    ".track{fill:#eaeef2}.best{stroke:#0072B2}.mean{stroke:#8a929b}.bound{stroke:#B3430A}"
    ".rim{stroke:#fff;stroke-width:1.5}.hatch{fill:#8a929b}.boundt{fill:#A83E08}.bestt{fill:#0063A0}.b{font-weight:600}.halo{paint-order:stroke;stroke:#fff;stroke-width:6px}.mark{stroke:#D55E00}"
    "@media(prefers-color-scheme:dark){.bg{fill:#161b22}.ink{fill:#e6edf3}.soft{fill:#a5afba}"
    ".grid{stroke:#30363d}.axis{stroke:#8b949e}.track{fill:#2d333b}.best{stroke:#56B4E9}"
    ".rim{stroke:#c9d1d9}.hatch{fill:#a5afba}.halo{stroke:#161b22}.bound{stroke:#F0904A}.boundt{fill:#F0904A}.bestt{fill:#56B4E9}}"
)

HTML_STYLE = (
    "font-family:var(--jp-ui-font-family,system-ui,sans-serif);"
    "color:var(--jp-content-font-color1,inherit);line-height:1.45;max-width:980px"
)


def cividis(value: float) -> str:
    """Return the cividis colour of a value in 0..1 (clipped) as ``#rrggbb``."""
    position = min(1.0, max(0.0, value)) * (len(_CIVIDIS) - 1)
    index = min(int(position), len(_CIVIDIS) - 2)
    part = position - index
    channels = zip(_CIVIDIS[index], _CIVIDIS[index + 1], strict=True)
    return "#" + "".join(f"{round(low + (high - low) * part):02x}" for low, high in channels)
