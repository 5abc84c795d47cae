"""The first plan: load, plan, generate, and look at what was promised."""

NAME = "01_first_plan.ipynb"
CELLS = [
    "# A first plan\n\nA model is a chain of **blocks**: the embedding, attention and MLP of each layer, the head. "
    "If your memory holds them all, there is nothing to decide. Here we pretend that it does not.",
    ["%load_ext llmdist\n%llm_load demo"],
    "The demo model has 8 layers and fits everywhere. Which machine is it on? The figures below were *measured*, "
    "not looked up.",
    ["%llm_status"],
    "## What fits\n\nWith all the memory it wants, every block is **resident**: its weights stay where they are used.",
    ["%llm_plan --context 256 --seconds 1"],
    "**Predict before you run:** if only two thirds of that memory were allowed, would the text change? Would the speed?",
    ["cap = int(llm.plan_result.prediction.peak_bytes['cpu'] * 0.66)\nplan = llm.plan(ram=cap, context=256, seconds=1)"],
    ["print(plan.summary())"],
    "Some blocks are now **streamed**: read from disk for every token, through a few slots that are used again and "
    "again. The ants spread them out, so that a read hides behind the compute of the blocks between. "
    "The *gap* says how far this plan can be from the best possible one.",
    ["%llm_generate --max-new-tokens 90 One day Anna the ant walked to the"],
    "## Look at what was measured\n\nThe plan made a promise. Was it kept?",
    [
        "stats = llm.stats\nprint(f'predicted {plan.prediction.tokens_per_second:.0f} tokens/s')\n"
        "print(f'measured  {stats.tokens_per_second:.0f} tokens/s, {stats.bytes_moved / stats.tokens / 1e6:.2f} MB per token')"
    ],
    "**Exercise.** Lower the cap until `%llm_plan` refuses. What does it say is missing, and what would make it fit?",
    ["%llm_unload"],
]
