"""The first plan: load, plan, generate, and look at what was promised."""

NAME = "01_first_plan.ipynb"
LEARN = "load, plan, generate, and whether the promise was kept"
CELLS = [
    "# A first plan\n\nA language model is a chain of **[blocks](../docs/glossary.md#block)**: the embedding, attention and MLP "
    "of each layer, the head. (Lesson 1 tells what they do; here it is enough that each token needs all of them, one after the "
    "other.) If your memory holds them all, there is nothing to decide. Here we pretend that it does not.\n\n*About 15 "
    "minutes. All is **measured** on this machine.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "Which machine is it on? The numbers were *measured*, not looked up: for the processor (`cpu`) and the disk, how much "
    "there is, how fast it is read, and on the arrow how fast weights are copied. `%llm_status` shows them again. The demo "
    "model has 8 layers and fits everywhere.",
    "## What fits\n\nWith all the memory it wants, every block is **[resident](../docs/glossary.md#resident)**: its weights "
    "stay where they are used.",
    ["%llm_plan --context 256 --seconds 1"],
    "**Predict before you run:** if only two thirds of that memory were allowed, would the text change? Would the speed?",
    ["cap = int(llm.plan_result.prediction.peak_bytes['cpu'] * 0.66)\nplan = llm.plan(ram=cap, context=256, seconds=1)"],
    ["print(plan.summary())"],
    "Some blocks are now **[streamed](../docs/glossary.md#streamed)**: read from disk for every token, through a few "
    "[slots](../docs/glossary.md#slot) that are used again and again. Who decided which? "
    "[Ants](../docs/glossary.md#ant): many tries by dice, in which later ones follow the trail of good earlier ones "
    "(lesson 7). They spread the streamed blocks out, so that a read hides behind the computing of the blocks between "
    "(lesson 5). The summary also says how far this plan can be from the best possible one.",
    ["%llm_generate --max-new-tokens 90 One day Anna the ant walked to the"],
    "## Look at what was measured\n\nThe plan made a promise. Was it kept?",
    [
        "stats = llm.stats\nprint(f'predicted {plan.prediction.tokens_per_second:.0f} tokens/s')\n"
        "print(f'measured  {stats.tokens_per_second:.0f} tokens/s, {stats.bytes_moved / stats.tokens / 1e6:.2f} MB per token')"
    ],
    "Where they differ by much, another program wanted the disk or the processor at that moment: run both cells again.\n\n"
    "**Exercise.** How little memory is enough? Lower the cap in the next cell until `%llm_plan` refuses. What does it say is "
    "missing, and what would make it fit?",
    ["%llm_plan --ram 6MiB --context 256 --seconds 1"],
    ["%llm_unload"],
]
