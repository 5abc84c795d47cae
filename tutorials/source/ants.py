"""Lesson 7: ants against the exact answer."""

NAME = "lesson7_ants_and_the_exact_answer.ipynb"
CELLS = [
    "# 7 · Ants against the exact answer\n\nEvery block of a model may live and run in a few places. With 10 blocks and 4 "
    "options that is a million placements; with 160 blocks it has 97 digits. Ants leave a "
    "[trail](../docs/glossary.md#trail) where good placements went, and later ants follow it. Here the problem is small "
    "enough to know the truth.\n\n*About 30 minutes; no model is needed. The machine of this problem is made up.*",
    [
        "from llmdist.lessons import ants\nfrom llmdist_widgets import lessons as show\n\n"
        "problem = ants.small_problem(seed=3)\nprint(len(problem.blocks), 'blocks;', {n: f'{c / 2**20:.0f} MiB' for n, c in problem.caps.items()})"
    ],
    "**Predict before you run:** how far from the best possible is the simple rule *fill the GPU, then the memory*?",
    [
        "for answer in ants.answers(problem):\n"
        "    print(f'{answer.method:24} {answer.seconds * 1e3:7.3f} ms per token  {answer.gap:7.2%} above the optimum')"
    ],
    "The exact search tried every placement. *Greedy* decides block by block and cannot take back. Dynamic programming "
    "puts a price on memory. Random search is what the ants must beat.",
    "## What the ants need\n\nA colony forgets a share `evaporation` of its trail after every iteration, and sends a number "
    "of ants. Race a few colonies.",
    [
        "from llmdist.planner import ColonyParameters\n\n"
        "colonies = {'default': ColonyParameters(), '2 ants': ColonyParameters(ants=2, neighbours=1, evaluated=1),\n"
        "            'forgets all': ColonyParameters(evaporation=1.0, neighbours=1, evaluated=1)}\n"
        "curves = {name: ants.colony_curve(problem, p) for name, p in colonies.items()}\n"
        "optimum = min(answer.seconds for answer in ants.answers(problem))"
    ],
    ["show.race_picture(curves, optimum)"],
    "**Notice:** good seeds and a good bound do much of the work; the colony must not *lose* what it was given.",
    "## Exercise: make it fail, then repair it\n\nFirst find parameters for which the check fails. Say why. Then change "
    "*one* of them so that it passes: at most 1 % above the optimum for five seeds.",
    [
        "mine = ColonyParameters(ants=1, neighbours=1, evaluated=1, evaporation=1.0)\n"
        "print(ants.check_colony(mine, ants.small_problem(seed=3)))"
    ],
    "## How good without the truth?\n\nFor 160 blocks nobody can try every placement. A **bound** helps: a "
    "simpler problem, solved exactly, whose answer no placement can beat.",
    [
        "from llmdist.planner import MaxIterations, solve\n\nplan = solve(problem, stop=MaxIterations(60))\n"
        "print(plan.summary())\nprint(f'bound {plan.bound_seconds * 1e3:.3f} ms, optimum {optimum * 1e3:.3f} ms, '\n"
        "      f'plan {plan.objective_seconds * 1e3:.3f} ms')"
    ],
    "The bound lies below the optimum, the plan on or above it: *bound <= optimum <= colony*, always. "
    "The distance between the outer two is the gap that `%llm_plan` prints.",
    "## What to take along\n\n* A search needs memory (the trail), doubt (evaporation) and a way to know how good it is "
    "(the bound).\n* Compare methods under the same cost model and the same time, or not at all.",
]
