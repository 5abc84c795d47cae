"""Lesson 2: counting bytes."""

NAME = "lesson2_counting_bytes.ipynb"
CELLS = [
    "# 2 · Counting bytes\n\n*Will it fit?* is the first question of everyone who runs a model at home, and it is "
    "arithmetic. Three things take memory: the **weights**, the **[KV cache](../docs/glossary.md#kv-cache)** that grows "
    "with the text, and a small **workspace** for what is being computed.\n\n*About 25 minutes.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "## Weights\n\nA weight in bf16 takes 2 bytes. **Predict before you run:** the demo model has 2.58 million weights. "
    "How many MiB is that?",
    [
        "from llmdist.lessons import counting_bytes as bytes_of\nfrom llmdist_widgets import lessons as show\n\n"
        "for precision in ('fp32', 'bf16', 'int8', 'int4'):\n"
        "    print(precision, f'{bytes_of.weight_bytes(llm.profile, precision) / 2**20:.2f} MiB')"
    ],
    "Where are they? Every layer has two [blocks](../docs/glossary.md#block), attention and MLP.",
    ["show.bytes_picture(llm.profile, 'bf16', tokens=512)"],
    "The MLPs hold most of the weights; only attention keeps a cache. That is why the two halves of a layer deserve "
    "different homes.",
    "## The KV cache\n\nFor every token that was read or written, each layer keeps a **key** and a **value** vector "
    "for each key/value head, `head_dim` numbers long. With [grouped queries](../docs/glossary.md#gqa) there are fewer "
    "key/value heads than query heads.",
    ["bytes_of.SHAPES"],
    "**Exercise.** Write the formula. The check tries three models, two contexts and two precisions.",
    [
        "def kv_bytes(layers, kv_heads, head_dim, tokens, bytes_per_element):\n"
        "    return 0      # your formula\n\n\nprint(bytes_of.check_kv_bytes(kv_bytes))"
    ],
    "**Exercise.** You have 2 GiB left beside the weights. How many tokens of context can Llama 3 8B keep in bf16?",
    ["my_tokens = 1000\nprint(bytes_of.check_largest_context(my_tokens, memory_bytes=2 * 2**30))"],
    "## Predicted against measured\n\nA plan predicts the peak memory of the engine, byte by byte. Is it true? "
    "The engine runs in a process of its own, so the operating system can be asked.",
    [
        "plan = llm.plan(context=512, seconds=0.5)\n"
        "for step in llm.generate('One day Anna the ant walked to the', max_new_tokens=24):\n    pass\n"
        "MIB = 2**20\nprint(f\"planned  {plan.prediction.peak_bytes['cpu'] / MIB:.1f} MiB\")\n"
        "print(f\"measured {llm.stats.peak_bytes['cpu'] / MIB:.1f} MiB\")"
    ],
    "The difference of a few MiB is the libraries' own: thread pools, code that was loaded at first use. For a model of "
    "16 GB it does not matter; for a toy of 5 MB it does. **Where would you look** if the difference grew with every token?",
    "## What to take along\n\n* Weights: parameters x bytes per parameter.\n"
    "* KV cache: it grows with every token, and its formula is the one you wrote.\n"
    "* What does not fit must live somewhere else. How slow is somewhere else? The next lesson measures it.",
    ["%llm_unload"],
]
