"""Lesson 7: ants against the exact answer."""

NAME = "lesson7_ants_and_the_exact_answer.ipynb"
LEARN = "how the planner searches, and how it knows how good a plan is"
CELLS = [
    "# 7 · Ants against the exact answer\n\nEvery block of a model may live and run in a few places; a list that says where "
    "is a [placement](../docs/glossary.md#placement). With 10 blocks and 4 options each there are a million placements; with "
    "160 blocks their number has 97 digits. An **[ant](../docs/glossary.md#ant)** builds one placement, block by block, "
    "throwing dice. It leaves a **[trail](../docs/glossary.md#trail)** on its choices if the placement was good, and later ants follow it. "
    "Here the problem is small enough to know the truth.\n\n*About 30 minutes; no model is needed. The machine of this problem "
    "is made up, and every time is **computed** by the planner's cost model.*",
    [
        "from llmdist.lessons import ants\nfrom llmdist_widgets import lessons as show\n\n"
        "problem = ants.small_problem(seed=3)\n"
        "print(len(problem.blocks), 'blocks;', {name: f'{cap / 2**20:.0f} MiB' for name, cap in problem.caps.items()})\n"
        "print('options of a block:', ', '.join(option.label for option in problem.options(problem.blocks[0])))"
    ],
    "`disk>cpu` means: rests on the disk, is copied to the processor's memory for every token. The "
    "[caps](../docs/glossary.md#cap) say how much may be used: two fifths of the weights fit on the GPU (`cuda:0`), two fifths "
    "into memory (`cpu`). The rest must be read from disk, always.\n\n"
    "**Predict before you run:** how far from the best possible is the simple rule *fill the GPU, then the memory, then "
    "the disk*? (It is called *greedy* below.)",
    ["for answer in ants.answers(problem):\n    print(answer)"],
    "Six methods under the same cost model:\n\n"
    "* *exact* tried every placement: its time is the **optimum**, and the others are measured against it;\n"
    "* *llmdist's colony* are the ants of `%llm_plan`;\n"
    "* *random* threw dice for 2000 placements and kept the best that fits;\n"
    "* *greedy* decides block by block and cannot take back;\n"
    "* *dynamic programming* finds the best chain of choices exactly, but only if memory has no limit. So each byte of memory "
    "gets a price, which is raised or lowered until the plan fits. A small change of it can move many blocks at once, and the "
    "good plans between are missed;\n"
    "* the *textbook colony* are ants as they are usually taught. They found *nothing that fits*. Why?",
    "## What a textbook colony needs\n\nAt each block an ant chooses an option with probability proportional to "
    "the trail, to the power `alpha`, times the visibility, to the power `beta`. **[Visibility](../docs/glossary.md#visibility)** is how good an option looks before "
    "anything is learned: here, one over its seconds. In every *iteration* all ants walk; then a share `evaporation` of the "
    "trail is forgotten, and the best placement so far leaves new trail. With `beta=0` visibility does not count. What is not given has its default: `ants=32, evaporation=0.1, alpha=1, beta=1`.\n\n"
    "**Predict before you run:** four colonies race. Which comes to the optimum, and which never finds a plan?",
    [
        "colonies = {'short-sighted': ants.TextbookColony(), 'no visibility': ants.TextbookColony(beta=0),\n"
        "            'forgets all': ants.TextbookColony(beta=0, evaporation=1.0),\n"
        "            'remembers': ants.TextbookColony(ants=128, beta=0, evaporation=0.03)}\n"
        "curves = {name: colony.run(problem, 120) for name, colony in colonies.items()}\n"
        "show.race_picture(curves, ants.optimum(problem))"
    ],
    "A curve is the best placement so far, in percent above the optimum: 0 is as good as possible. It begins where the first "
    "placement fits; the short-sighted colony has no curve.\n\nVisibility sends every ant to the GPU, which looks fastest, "
    "until far more than fits is there, again and again: here it is worse than none. A colony that forgets everything follows "
    "one placement only and never leaves its neighbourhood.",
    "## Exercise: make it fail, then repair it\n\nThe colony below fails the check: say why. Then change *as few parameters as "
    "you can* of it so that it passes: at most 10 % above the optimum, for five seeds (five times other dice). `ants` is a whole "
    "number from 1 to 1000, `evaporation` above 0 and at most 1, `alpha` and `beta` are 0 or more.",
    ["mine = {'ants': 32, 'evaporation': 0.5, 'beta': 0}\nprint(ants.check_colony(mine, problem))"],
    "## The product's own colony\n\n`%llm_plan` uses a colony whose visibility knows that memory is scarce: it comes from a "
    "*relaxation*, an easier problem (there a block may be split between places). And its ants rebuild only a part of the best "
    "placement instead of all.",
    [
        "from llmdist.planner import MaxIterations, solve\n\nplan = solve(problem, stop=MaxIterations(60))\n"
        "best = ants.optimum(problem)\nprint(f'{plan.objective_seconds / best - 1:.2%} above the optimum')"
    ],
    "## How good without the truth?\n\nFor 160 blocks nobody can try every placement. A **[bound](../docs/glossary.md#bound)** "
    "helps: an easier problem, in which only the *number* of blocks in each place counts and not their order. It can be "
    "solved exactly, and as it allows more than the true problem, no placement can beat its answer.\n\n"
    "**Predict before you run:** you know the optimum from above. Does the bound lie below it or above it? And the plan?",
    [
        "print(f'bound {plan.bound_seconds * 1e3:.2f} ms <= optimum {best * 1e3:.2f} ms '\n"
        "      f'<= plan {plan.objective_seconds * 1e3:.2f} ms: gap {plan.gap:.1%}')"
    ],
    "The bound never lies above the optimum, the plan never below. The distance from bound to plan is the **gap** that "
    "`%llm_plan` prints: the plan is *at most* so far from the best possible. Here it is the best, and the gap cannot know: "
    "a promise that needs no list of all placements.\n\n"
    "**Question.** Somebody shows you a gap of 40 %. Is the plan bad?",
    "## What to take along\n\n* A search needs memory (the trail), doubt (evaporation) and foresight (a good visibility).\n"
    "* Compare methods under the same cost model and the same time, or not at all.\n"
    "* A bound says how much better it could still get.\n\n"
    "*Source: MAX-MIN ant system (Stützle and Hoos, 2000) for the textbook colony.*",
]
