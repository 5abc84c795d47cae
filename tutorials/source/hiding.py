"""Lesson 5: hiding the copy."""

NAME = "lesson5_hiding_the_copy.ipynb"
CELLS = [
    "# 5 · Hiding the copy\n\nA 13B model in 16 bits weighs 26 GB; a card of 24 GB cannot hold it. Some blocks must be "
    "**[streamed](../docs/glossary.md#streamed)**: copied from host memory each time they are needed. A copy that runs "
    "while another block computes costs *nothing*. How much can be hidden?\n\n*About 25 minutes. The machine is an RTX "
    "4090 from the catalog of known machines: every number here is **simulated** with the planner's cost model.*",
    [
        "from llmdist.lessons import hiding\nfrom llmdist.planner import evaluate\nfrom llmdist.units import format_seconds\n\n"
        "made = hiding.problem('llama-2-13b', 'rtx4090')\nprint(len(made.blocks), 'blocks on', [d.name for d in made.devices])"
    ],
    "## Slots\n\nA streamed block is copied into a **[slot](../docs/glossary.md#slot)** of GPU memory. With one slot, the "
    "next copy must wait until the block in it has been computed. With two, it can run ahead.\n\n**Predict before you "
    "run:** three attention blocks, side by side at the end, are streamed. What do two slots save? And three?",
    [
        "for slots in (1, 2, 3):\n    made = hiding.problem(slots=slots)\n    placement = hiding.streaming(made, every=13, together=True)\n"
        "    tpot = evaluate(made, placement).tpot_seconds\n"
        "    print(slots, 'slots:', format_seconds(tpot), 'per token, not hidden', format_seconds(hiding.exposed_seconds(made, placement)))"
    ],
    "## Spacing\n\nThe same three blocks side by side, or spread over the model:",
    [
        "made = hiding.problem(slots=2)\nfor together in (False, True):\n"
        "    placement = hiding.streaming(made, every=13, together=together)\n"
        "    print('together' if together else 'spread  ', format_seconds(evaluate(made, placement).tpot_seconds), 'per token')"
    ],
    "Between two spread blocks the card computes long enough for the next copy to arrive. Side by side, each waits "
    "for its own. *The order matters*, and that is what the planner searches.",
    "## How many can be hidden?\n\nOne in forty, one in twenty, one in thirteen ...",
    [
        "for every in (40, 20, 13, 10, 8, 4, 2):\n    placement = hiding.streaming(made, every)\n"
        "    print(f'{placement.count(\"streamed\"):3} streamed', format_seconds(evaluate(made, placement).tpot_seconds),\n"
        "          'not hidden', format_seconds(hiding.exposed_seconds(made, placement)))"
    ],
    "As soon as the copies take longer than all the computing, the bus is the bottleneck, and each further block costs its "
    "whole copy.",
    "## Stream it, or compute it where it lies?\n\nHost memory is read faster by the processor beside it than through the "
    "bus. For a single sequence the CPU wins. But a copied block serves *all* sequences of a batch at once.",
    [
        "for batch in (1, 2, 4, 8, 16, 32, 64):\n    ways = hiding.way_seconds(made, batch)\n"
        "    print(f'batch {batch:3}', {way: format_seconds(seconds) for way, seconds in ways.items()})"
    ],
    "**Exercise.** Find the smallest batch for which streaming is at least as fast. One off is fine.",
    ["my_batch = 1\nprint(hiding.check_break_even(my_batch, made))"],
    "**Question.** Would the break-even move up or down with a slower bus? With a processor of twice the cores? Try "
    "`hiding.problem(machine='rtx3060')`.",
    "## What to take along\n\n* A copy is free while something else computes: slots and spacing.\n"
    "* At batch 1 the processor beside the memory beats the bus; with many tokens per pass the bus wins.\n"
    "* A good plan does both at once, and the planner prices both ways for every block.",
]
