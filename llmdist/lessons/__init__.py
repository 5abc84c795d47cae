"""What the tutorials compute: small real questions to the model, the machine and the planner, and checks of answers.

A notebook tells the story; whatever it needs beyond the public API lives here, with tests. A check never prints the
answer: it says what is wrong and where to look.
"""

from .verdict import Verdict

__all__ = ["Verdict"]
