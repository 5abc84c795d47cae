"""Lesson 4: three homes for a block."""

NAME = "lesson4_three_homes.ipynb"
LEARN = "where weights rest, and how copies hide behind computing"
CELLS = [
    "# 4 · Three homes for a block\n\nA model is a chain of **[blocks](../docs/glossary.md#block)**, and every token needs "
    "all of them, one after the other. The weights of a block must rest somewhere: in the memory of the **GPU** (fast and "
    "small), in **RAM** (slower, larger) or on **disk** (slow, huge). That place is its "
    "[home](../docs/glossary.md#home-device).\n\nThink of a cook with a small table, a cupboard and a cellar. The simplest "
    "rule is *fill in order*: put things on the table until it is full, then into the cupboard, and carry the rest to the "
    "cellar. Many programs do so with blocks. In this lesson you beat that rule by hand.\n\n*About 35 minutes. Part A is "
    "**measured** with the demo model on this machine, which uses RAM and disk. Part B has all three homes and is "
    "**simulated**. Lesson 3 told how fast memories are; lesson 5 tells more about hiding a copy.*",
    [
        "from llmdist.cost.timeline import predicted_timeline\nfrom llmdist.lessons import homes\n"
        "from llmdist.planner import MaxIterations, evaluate, solve\nfrom llmdist.units import format_bytes\n"
        "from llmdist_widgets import homes as show\n\n%load_ext llmdist\n%llm_load demo"
    ],
    "# Part A: two homes, measured\n\nWe forbid so much RAM that more than half of the weights must stay on disk. Such a limit is a "
    "[cap](../docs/glossary.md#cap): it counts all that RAM must hold, weights, KV cache, workspace and the room that copies go "
    "to. A list that says where every block rests and where it is computed is a "
    "[placement](../docs/glossary.md#placement). This is the placement of the rule:",
    [
        "llm.plan(context=128, seconds=0.5)\nplan = llm.plan(ram=homes.half_of(llm), context=128, seconds=0.5)\n"
        "rule = homes.fill_in_order(plan.problem)\nllm.apply(rule)\nshow.placement_picture(plan.problem, rule)"
    ],
    "Read the picture so: a column is a block, in the order in which a token passes them; a row is a home, and the row `cpu` "
    "is RAM with the processor beside it. Blue blocks are [resident](../docs/glossary.md#resident): "
    "they rest where they are computed. Orange blocks are [streamed](../docs/glossary.md#streamed): they rest on disk (the "
    "thin line) and are copied into RAM *for every token*, then their room is used again for the next one.\n\n"
    "**Predict before you run:** which share of a token's time is computing, and which is waiting for a copy?",
    [
        "found = homes.measure(llm, {'fill in order': rule})['fill in order']\n"
        "show.timelines_picture({'measured': found.timeline, 'predicted': found.predicted}, 'One token under the rule')"
    ],
    "This is the [timeline](../docs/glossary.md#timeline) of one token. The upper row of each pair computes, the lower row "
    "copies. Hatched is a **bubble**: the block stands ready, but its weights are still on their way. The blocks of the "
    "rule's tail wait one after another. (Copies left of 0 ran ahead, behind the token before.)\n\nBelow the measured token "
    "is the one that the planner *predicts* from what it measured of this machine. The green piece before 0 is no bubble: "
    "it is the fixed price of a pass, of asking the engine and choosing the token. A disk's speed changes from minute to minute, so "
    "the two can differ by half, in either direction: compare their shapes, not their lengths.",
    "## Your move\n\nYou name blocks and say where they go: `cpu` is RAM, `disk` is the disk. Blocks are called as in "
    "`layers.3-7.mlp`, `attention`, `head` or `all`; moves are done in turn. The first exchange is made for you: one MLP "
    "goes down to the disk, and two small attention blocks come up in its place.",
    [
        "moves = {'layers.1.mlp': 'disk', 'layers.3-4.attention': 'cpu'}\n\n"
        "llm.apply(show.moved(plan.problem, rule, moves))  # refuses what is over a cap\n"
        "show.placement_picture(plan.problem, llm.plan_result.placement)"
    ],
    "Would you rather use your hands? The next cell opens the editor on the placement in force: take blocks with the mouse, "
    "watch speed and memory change, then press *Apply*. The same in words: `%llm_place layers.1.mlp disk`, then "
    "`%llm_place apply`. You may also skip it.",
    ["%llm_place"],
    "**Predict before you run:** the exchange swaps one large block for two small ones of about the same bytes together. "
    "Is a token faster now, slower, or the same?",
    [
        "mine = llm.plan_result.placement  # what is in force, by words or by hand\n"
        "found = homes.measure(llm, {'fill in order': rule, 'mine': mine})\n"
        "for name, one in found.items():\n"
        "    print(f'{name:14} measured {1e3 * one.seconds:.2f} ms, predicted {1e3 * one.predicted_seconds:.2f} ms per token')\n"
        "show.timelines_picture({f'{name}, measured': one.timeline for name, one in found.items()}, 'One token, measured')"
    ],
    "The printed times hold a little more than the picture, which begins with the first block. Other work on the machine "
    "disturbs: compare only times of the same run of the cell, and run it twice before you believe a small difference.\n\nAbout the same bytes, and one copy less. Why does that "
    "count? A copy has two prices: a fixed one, for asking, waiting for the first byte ([latency](../docs/glossary.md#link)) "
    "and handing the block over to the computing, and then so many bytes per second. Here are both, with the factor for copies that the loading cell may name:",
    [
        "link, cpu = plan.problem.link('disk', 'cpu'), llm.hardware.device('cpu')\n"
        "fixed = link.latency_seconds + cpu.handover_seconds\nfor kind, (size, _) in homes.sizes(plan.problem).items():\n"
        "    print(f'{kind:10}{format_bytes(size):>10}: {1e3 * fixed:.2f} ms fixed, '\n"
        "          f'then {1e3 * size / link.bandwidth:.2f} ms')"
    ],
    "**Try it.** Go back to `moves` and make a token faster still. How many copies does your placement need, and how many "
    "the rule's? Change `moves`, predict, run, compare. (When you are done, leave Part A.)",
    ["%llm_unload"],
    "# Part B: three homes, simulated\n\nNow a model of thirteen billion weights (llama-2-13b) on an RTX 4090. Other "
    "programs have taken a part of the card and most of the RAM. *Nothing here is measured: the machine is one from a catalog, and every "
    "number comes from the planner's cost model.* The rule fills the card, then RAM, and the rest stays on disk. Each block "
    "is computed where it rests; those on disk are streamed to the card.",
    ["made = homes.case()\nfilled = homes.fill_in_order(made)\nshow.placement_picture(made, filled, simulated=True)"],
    "**Predict before you run:** the card, the processor, the disk: who is busy longest in a token? Who waits for whom?",
    [
        "show.timelines_picture({'fill in order': predicted_timeline(made, filled)}, 'One token under the rule, simulated')"
    ],
    "(`cuda:0` is the card.) The card computes its many blocks in no time; then the processor works, and the card waits for "
    "it. Now look at the lowest row. Two copies run ahead, hidden behind all this computing. Then it stops, although there "
    "is time: both [slots](../docs/glossary.md#slot) that copies go to are full until one of their blocks has been computed, "
    "and that is at the very end. The last two blocks on disk get no head start: everybody waits for them.",
    "## Bring it, or compute it there?\n\nThe card computes much faster than the processor. So should the blocks in RAM not "
    "be brought to the card (`cpu>gpu`: rests in RAM, computed on the GPU)?\n\n**Predict before you run:** does that make "
    "a token faster?",
    [
        "brought = show.moved(made, filled, {'layers.24-37.mlp': 'cpu>gpu'})\n"
        "for name, placement in (('computed where they rest', filled), ('brought to the card', brought)):\n"
        "    print(f'{name:25} {1e3 * evaluate(made, placement).tpot_seconds:.0f} ms per token (simulated)')\n"
        "card, processor = made.devices[:2]\n"
        "print(f'the processor reads RAM at {processor.bandwidth / 1e9:.0f} GB/s, '\n"
        "      f'the way to the card carries {made.link(\"cpu\", card.name).bandwidth / 1e9:.1f} GB/s')"
    ],
    "For one token, a weight is used once. The processor has read it before the way to the card could have carried it. But "
    "look again at the timeline: for a good part of the processor's work, that way is *empty*. A block could travel on it "
    "for nothing.",
    "## Who needs the best seat?\n\nA place in fast memory is worth having for a block that reads much of itself for every "
    "token. Do all blocks?",
    [
        "for kind, (size, read) in homes.sizes(made).items():\n"
        "    print(f'{kind:10} takes {format_bytes(size):>8}, a token reads {format_bytes(read):>8} of it')"
    ],
    "## Exercise: beat the rule\n\nMake a token take **10 % less** time, under the same caps. The check prices your placement "
    "with the cost model. If it breaks a cap, it says which; otherwise it says how far you are, never what to move.\n\n"
    "Targets: `gpu`, `cpu`, `disk>gpu`, `disk>cpu`, `cpu>gpu`. A block that comes up needs room, so another must go. Look at "
    "the bubbles first: *which of them could lie behind computing, if its block stood elsewhere?*",
    [
        "my_moves = {'layers.30.attention': 'cpu>gpu'}\n\nplaced, verdict = show.tried(made, filled, my_moves)\nprint(verdict)"
    ],
    [
        "pair = {'fill in order': predicted_timeline(made, filled), 'mine': predicted_timeline(made, placed)}\n"
        "show.timelines_picture(pair, 'One token, simulated')"
    ],
    ["show.placement_picture(made, placed, simulated=True)"],
    "**Harder.** Ten percent is one good exchange. Can you reach thirty?",
    ["print(homes.check_beats(placed, made, by=0.3))"],
    "**And the planner?** It searches all homes of all blocks at once. Its time is shown here, not its placement; when you "
    "have given your best, print `best.placement.in_words()` and look for what you did not think of.",
    [
        "best = solve(made, stop=MaxIterations(20))\n"
        "times = {'fill in order': evaluate(made, filled), 'mine': evaluate(made, placed), 'the planner': best.prediction}\n"
        "for name, prediction in times.items():\n"
        "    print(f'{name:14} {1e3 * prediction.tpot_seconds:.0f} ms per token (simulated)')"
    ],
    "**Question.** With `made = homes.case(ram='64GiB')` in the first code cell of Part B nothing needs the disk; run from there "
    "on. What is left to win over the rule then? Which of your ideas still works?",
    "## What to take along\n\n* *Where* a block rests decides how long a token waits. Filling in order leaves the copies "
    "side by side, where nothing hides them.\n* A copy behind somebody's computing is free: spread what is streamed.\n"
    "* For one token, a block is best computed where its weights rest. The way to the card (the *bus*) can carry a few more "
    "while it is idle, not most of them.\n* Fast memory is for "
    "blocks that are read in full for every token. And many small copies cost more than a few large ones.",
]
