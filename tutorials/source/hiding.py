"""Lesson 5: hiding the copy."""

NAME = "lesson5_hiding_the_copy.ipynb"
LEARN = "when a copy costs nothing, and when it is better not to copy"
CELLS = [
    "# 5 · Hiding the copy\n\nA model of 13 billion weights in 16 bits weighs 26 GB; a graphics card of 24 GB cannot hold it. "
    "Some blocks must rest in **host memory**, the RAM beside the processor, and be "
    "**[streamed](../docs/glossary.md#streamed)**: copied to the card for every token, over the **bus** that joins the two. "
    "A copy that runs while another block computes costs *nothing*. How much can be hidden?\n\n*About 25 minutes. The machine "
    "is an RTX 4090 from the catalog of known machines: every number here is **simulated** with the planner's cost model.*",
    [
        "from llmdist.cost.timeline import predicted_timeline\nfrom llmdist.lessons import hiding\n"
        "from llmdist_widgets import homes, lessons as show\n\n"
        "made = hiding.problem('llama-2-13b', 'rtx4090')\n"
        "print(len(made.blocks), 'blocks; devices:', ', '.join(device.name for device in made.devices))"
    ],
    "`cuda:0` is the card and `cpu` the processor with the host memory; the disk is not needed in this lesson. To see one effect "
    "at a time we stream a few blocks only and look at the time alone: whether the rest fits on the card is not checked here.\n\n"
    "## Slots\n\nA streamed block is copied into a **[slot](../docs/glossary.md#slot)**, a piece of the card's memory that is "
    "used again and again. With one slot, the next copy must wait until the block in it has been computed. With two, it can "
    "run ahead.\n\n**Predict before you run:** three attention blocks, the last ones of the model, are streamed. How much time "
    "do two slots save? And three?",
    [
        "for slots in (1, 2, 3):\n    made = hiding.problem(slots=slots)\n"
        "    last_three = hiding.streaming(made, every=13, together=True)\n"
        "    print(slots, 'slots:', hiding.in_words(made, last_three))"
    ],
    "(`every=13` streams one in thirteen of the 40 attention blocks: three.) With three slots all copies can run ahead, and "
    "nothing is left of them. But slots take memory: what would you do if there were room for only two?\n\n"
    "## Spacing\n\nThe same three blocks with two slots, side by side at the end or spread over the model.\n\n"
    "**Predict before you run:** which is faster, and why?",
    [
        "made = hiding.problem(slots=2)\n"
        "ways = {'side by side': hiding.streaming(made, 13, together=True), 'spread': hiding.streaming(made, 13)}\n"
        "timelines = {name: predicted_timeline(made, placement) for name, placement in ways.items()}\n"
        "homes.timelines_picture(timelines, 'One token, simulated')"
    ],
    "Of each pair, the upper row computes and the lower one copies. Hatched is a *bubble*: the block is due, but its weights "
    "are still on their way. Between two spread blocks the card computes long enough for the next copy to arrive. Side by side, "
    "both slots are full until the first of the three is computed, at the very end, and the third copy cannot begin. *The "
    "order matters*, and that is what the planner searches. (Copies left of 0 ran ahead, behind the token before.)\n\n"
    "## How many can be hidden?\n\nThe more blocks are streamed, the less memory the card needs. Here is the time that one "
    "copy of an attention block takes, and the time that all computing of a token takes.",
    [
        "copy, computing = hiding.attention_copy_seconds(made), hiding.computing_seconds(made)\n"
        "print(f'one copy {1e3 * copy:.2f} ms, all computing of a token {1e3 * computing:.2f} ms')"
    ],
    "**Predict before you run:** how many streamed attention blocks can be hidden, when they are spread?",
    [
        "for every in (40, 20, 13, 10, 8, 4, 2):\n    placement = hiding.streaming(made, every)\n"
        "    print(f'{placement.count(\"streamed\"):2} streamed:', hiding.in_words(made, placement))"
    ],
    "As soon as the copies together take longer than all the computing, the bus is the bottleneck, and each further block costs "
    "its whole copy.",
    "## Stream it, or compute it where it lies?\n\nThe processor reads its own memory faster than the bus carries it away. So "
    "for a single sequence it is better to compute a block that rests there on the processor. But a copied block serves "
    "*all* sequences of a **[batch](../docs/glossary.md#batch)** at once. Here is one MLP, either way.\n\n"
    "**Predict before you run:** which of the two lines rises with the batch?",
    [
        "batches = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32)\n"
        "show.ways_picture({batch: hiding.way_seconds(made, batch) for batch in batches})"
    ],
    "Streamed, the copy is all that counts, and it is the same for any batch. On the processor the first sequences cost nothing "
    "more: it waits for its memory anyway. From the ridge on (the roofline of lesson 3) arithmetic is the limit, and each "
    "sequence costs its own time.\n\n"
    "**Exercise.** Find the smallest batch for which streaming is at least as fast; one off is fine. Estimate from the "
    "picture where the lines will meet: to the right of it, so extend the rising one. Then try `hiding.way_seconds(made, "
    "your_batch)`, which gives seconds.",
    ["my_batch = 1\nprint(hiding.check_break_even(my_batch, made))"],
    "**Question.** Would the break-even move up or down with a slower bus? With a processor of twice the cores? Then try "
    "`hiding.break_even(hiding.problem(machine='rtx3060'))`: a machine with the same bus, but a processor of less than half the "
    "arithmetic and slower RAM. Which way does it move, and why?",
    "## What to take along\n\n* A copy is free while something else computes: slots and spacing.\n"
    "* No more can be hidden than there is computing to hide it behind.\n"
    "* For one sequence the processor beside the memory beats the bus; with many tokens per pass the bus wins.\n"
    "* A good plan does both at once, and the planner prices both ways for every block.",
]
