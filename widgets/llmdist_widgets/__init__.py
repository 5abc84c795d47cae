"""Pictures of plans and generations: static views are functions of events, live ones follow them.

Importing this package does not import IPython; `llmdist_widgets.live` does.
"""

from .front import front_html, front_svg
from .generation import block_time_svg, generation_html, memory_svg, speed_svg
from .planning import convergence_svg, pheromone_svg, placement_svg, plan_html
from .report import report_html, write_report, write_session_report
from .status import machine_svg, status_html
from .timeline import timeline_svg

__all__ = [
    "block_time_svg", "convergence_svg", "front_html", "front_svg", "generation_html", "machine_svg", "memory_svg",
    "pheromone_svg", "placement_svg", "plan_html", "report_html", "speed_svg", "status_html", "timeline_svg",
    "write_report", "write_session_report",
]  # fmt: skip
