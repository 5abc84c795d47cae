"""Lesson 7: ants against the exact answer."""

NAME = "lesson7_ants_and_the_exact_answer.ipynb"
CELLS = [
    "# 7 · Ants against the exact answer\n\nEvery block of a model may live and run in a few places. With 10 blocks and "
    "4 options each there are a million placements; with 160 blocks their number has 97 digits. Ants leave a "
    "[trail](../docs/glossary.md#trail) where good placements went, and later ants follow it. Here the problem is small "
    "enough to know the truth.\n\n*About 30 minutes; no model is needed. The machine of this problem is made up.*",
    [
        "from llmdist.lessons import ants\nfrom llmdist_widgets import lessons as show\n\n"
        "problem = ants.small_problem(seed=3)\n"
        "print(len(problem.blocks), 'blocks;', {name: f'{cap / 2**20:.0f} MiB' for name, cap in problem.caps.items()})"
    ],
    "Two fifths of the weights fit on the GPU, two fifths into memory. The rest must be read from disk for every token.\n\n"
    "**Predict before you run:** how far from the best possible is the simple rule *fill the GPU, then the memory, then "
    "the disk*?",
    [
        "for answer in ants.answers(problem):\n"
        "    print(f'{answer.method:24} {answer.seconds * 1e3:7.2f} ms per token  {answer.gap:7.1%} above the optimum')"
    ],
    "The exact search tried every placement that fits. *Greedy* decides block by block and cannot take back. "
    "*Dynamic programming* puts a price on memory. And the textbook colony found *nothing that fits*. Why?",
    "## What a textbook colony needs\n\nAn ant chooses with probability trail^alpha x visibility^beta, where visibility "
    "prefers what looks fast *now*. After each iteration a share `evaporation` of the trail is forgotten. Race a few.",
    [
        "colonies = {'short-sighted': ants.TextbookColony(), 'no visibility': ants.TextbookColony(beta=0),\n"
        "            'forgets all': ants.TextbookColony(beta=0, evaporation=1.0),\n"
        "            'remembers': ants.TextbookColony(ants=128, beta=0, evaporation=0.03)}\n"
        "curves = {name: colony.run(problem, 120) for name, colony in colonies.items()}\n"
        "show.race_picture(curves, ants.optimum(problem))"
    ],
    "**Notice:** visibility sends every ant to the GPU until it is full, again and again: here it is worse than none. "
    "And a colony that forgets everything never builds on what it learned.",
    "## Exercise: make it fail, then repair it\n\nFind parameters with which the check fails, and say why. Then "
    "change *as few as you can* so that it passes: at most 10 % above the optimum, for five seeds.",
    ["mine = ants.TextbookColony(ants=32, evaporation=0.5, beta=0)\nprint(ants.check_colony(mine, problem))"],
    "## The product's own colony\n\n`%llm_plan` uses a colony whose visibility comes from a *relaxation* of the problem, "
    "which knows that memory is scarce, and whose ants rebuild only part of the best plan.",
    [
        "from llmdist.planner import MaxIterations, solve\n\nplan = solve(problem, stop=MaxIterations(60))\n"
        "best = ants.optimum(problem)\nprint(f'{plan.objective_seconds / best - 1:.2%} above the optimum')"
    ],
    "## How good without the truth?\n\nFor 160 blocks nobody can try every placement. A [bound](../docs/glossary.md#bound) "
    "helps: a simpler problem, solved exactly, whose answer no placement can beat.",
    [
        "print(f'bound {plan.bound_seconds * 1e3:.2f} ms <= optimum {best * 1e3:.2f} ms '\n"
        "      f'<= plan {plan.objective_seconds * 1e3:.2f} ms: gap {plan.gap:.1%}')"
    ],
    "The bound never lies above the optimum, the plan never below. The distance between the two is the gap that "
    "`%llm_plan` prints: a promise that needs no list of all placements.",
    "## What to take along\n\n* A search needs memory (the trail), doubt (evaporation) and foresight (a good visibility).\n"
    "* Compare methods under the same cost model and the same time, or not at all.\n"
    "* A bound says how much better it could still get.",
]
