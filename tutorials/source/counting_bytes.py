"""Lesson 2: counting bytes."""

NAME = "lesson2_counting_bytes.ipynb"
LEARN = "what takes memory, and how to compute it before loading anything"
CELLS = [
    "# 2 · Counting bytes\n\n*Will it fit?* is the first question of everyone who runs a model at home, and it is "
    "arithmetic. Three things take memory: the **weights**, the **[KV cache](../docs/glossary.md#kv-cache)** that grows "
    "with the text, and a small **workspace** for the vectors that are just being computed.\n\n*About 30 minutes. Lesson 1 "
    "told what attention, MLP and head are.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "## Weights\n\nA weight in **bf16** is a number of 16 bits: 2 bytes. That is a "
    "[precision](../docs/glossary.md#precision); others are fp32 (32 bits), int8 (8) and int4 (4). The line above the picture "
    "says how many weights the model has.\n\n**Predict before you run:** how many MiB are they in bf16? (1 MiB is 2²⁰ bytes, "
    "a little more than a million: [GiB and GB](../docs/glossary.md#gib).)",
    [
        "from llmdist.lessons import counting_bytes as bytes_of\nfrom llmdist_widgets import lessons as show\n\n"
        "for precision in ('fp32', 'bf16', 'int8', 'int4'):\n"
        "    print(precision, f'{bytes_of.weight_bytes(llm.profile, precision) / 2**20:.2f} MiB')"
    ],
    "int8 is a little more than half of bf16, and int4 more than a quarter. Why? Whole numbers need a scale beside them; "
    "lesson 6 tells more.\n\nWhere are the weights? Every layer has two [blocks](../docs/glossary.md#block), attention and "
    "MLP.\n\n**Predict before you run:** which of the two is larger?",
    ["show.bytes_picture(llm.profile, 'bf16', tokens=512)"],
    "Two bars for each layer, attention and then MLP. The embedding has no bar: this model uses the matrix of the head for "
    "it.\n\nThe MLPs hold most of the weights; only attention keeps a cache. So the two halves of a layer need "
    "different memory: an MLP needs much, always the same; attention needs less, but it grows with the text. Lesson 4 gives "
    "each block a place of its own.",
    "## The KV cache\n\nAttention looks back at *all* tokens before. What it needs of them does not change any more, so it is "
    "kept instead of computed again: for every token a **key** (by which it is found) and a **value** (what is fetched from "
    "it).\n\nInside attention there are several *heads*; they share only the name with the head at the end of the model. Each looks for "
    "something of its own. Each head of the cache keeps a key of "
    "`head_dim` numbers and a value of `head_dim` numbers, for every token, in every layer. The heads that *ask* (query heads) "
    "may be more than the heads that *keep* (key/value heads), because several may share one: "
    "[grouped queries](../docs/glossary.md#gqa). Here are three models:",
    ["for name, shape in bytes_of.SHAPES.items():\n    print(f'{name:12}', shape)"],
    "`heads` counts query heads, `hidden` is the length of a token's vector.\n\n**Exercise.** Write the formula: the bytes "
    "that the cache of one sequence of `tokens` tokens takes. Not every number of the table is needed. The check tries three models, "
    "two contexts and two precisions, and a wrong formula is told what looks wrong.",
    [
        "def kv_bytes(layers, kv_heads, head_dim, tokens, bytes_per_element):\n"
        "    return 0      # your formula\n\n\nprint(bytes_of.check_kv_bytes(kv_bytes))"
    ],
    "**Exercise.** You have 2 GiB left beside the weights. How many tokens can the KV cache of Llama 3 8B hold in bf16? A whole "
    "number; 2 % off is fine. (Your `kv_bytes` can help.)",
    ["my_tokens = 1000\nprint(bytes_of.check_largest_context(my_tokens, memory_bytes=2 * 2**30))"],
    "## Predicted against measured\n\nA *plan* says where every block rests, and predicts the peak of the memory. Here "
    "everything stays in RAM, with room for a context of 512 tokens. Is the prediction true? "
    "The engine runs in a process of its own, so the operating system can be asked what it really took. (What Python and its libraries took before is subtracted.)\n\n"
    "**Predict before you run:** weights and cache you know from above. Which part of the peak is neither?",
    [
        "plan = llm.plan(context=512, seconds=0.5)\n"
        "for step in llm.generate('One day Anna the ant walked to the', max_new_tokens=400):\n    pass\n"
        "for word, peak in (('planned', plan.prediction.peak_bytes), ('measured', llm.stats.peak_bytes)):\n"
        "    print(f\"{word:8} {peak['cpu'] / 2**20:.1f} MiB\")"
    ],
    "The rest is workspace. The two numbers differ by a few MiB, to either side. Upwards: libraries load code and start threads "
    "at first use. Downwards: memory that was set aside but not yet written, such as the unused end of the cache, does not "
    "count for the operating system. For a model of 16 GB this does not matter; for a toy of 5 MB it shows.\n\n"
    "**Question.** Where would you look if the difference grew with every token?",
    "## What to take along\n\n* Weights: parameters x bytes per parameter.\n"
    "* KV cache: it grows with every token, and its formula is the one you wrote.\n"
    "* What does not fit must live somewhere else. How slow is somewhere else? The next lesson measures it.",
    ["%llm_unload"],
]
