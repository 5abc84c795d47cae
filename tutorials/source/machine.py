"""Lesson 3: the machine you own."""

NAME = "lesson3_the_machine_you_own.ipynb"
LEARN = "what limits the speed of a machine, and how to predict tokens per second"
CELLS = [
    "# 3 · The machine you own\n\nWhy is a language model slow on a computer that multiplies a hundred billion numbers "
    "per second? Because for each token it must *read* all its weights once. This lesson measures how fast your machine "
    "reads, and predicts tokens per second from that one number.\n\n*About 35 minutes. What your machine does is "
    "**measured**; speeds of other machines are **published** ones, with their sources.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "A box is a [device](../docs/glossary.md#device): `cpu` is the processor with its memory (RAM), `disk` the disk; a graphics "
    "card, where there is one, is `cuda:0`. Three numbers were timed for it:\n\n"
    "* *reads*: its **bandwidth**, the bytes per second that can be read from it;\n"
    "* **FLOP/s**: the additions and multiplications per second, in a product of large matrices;\n"
    "* *fixed*: what a block costs however small it is.\n\nAn arrow is a [link](../docs/glossary.md#link), a path on which "
    "weights are copied, with its bandwidth.",
    "## The ladder\n\n**Predict before you run:** how many times slower than memory is your disk?",
    ["from llmdist.lessons import machine\nfrom llmdist_widgets import lessons as show\n\nshow.ladder_picture(llm.hardware)"],
    "Each step down the ladder costs a factor. A weight that lives on the disk is read at the disk's speed, *every token*.",
    "## The roofline\n\nA device is limited by reading (bytes per second) or by arithmetic (FLOP per second). Which one? That "
    "depends on how many FLOP are done for each byte that is read.\n\nOne token does 2 FLOP per weight: one multiplication, "
    "one addition. In bf16 a weight is 2 bytes, so that is 1 FLOP per byte. Eight [sequences](../docs/glossary.md#sequence) at "
    "once read each weight once and use it eight times: 8 FLOP per byte. So does a prompt of 256 tokens, 256 times.\n\n"
    "**Predict before you run:** which of the three is limited by reading, which by arithmetic?",
    [
        "cpu = llm.hardware.device('cpu')\n"
        "show.roofline_picture(cpu, {'one token': 1.0, '8 sequences': 8.0, 'prompt of 256 tokens': 256.0})"
    ],
    "The line is the roof: no program can be above it. On its slope, reading is the limit, and twice the FLOP per byte are "
    "twice the FLOP per second, for nothing. On its flat part arithmetic is the limit. The corner is the "
    "**[ridge](../docs/glossary.md#roofline)**.\n\n"
    "**Read off:** how many sequences at once would bring your machine to the ridge?",
    "## Exercise: a 7B model in 4 bits\n\nSuppose a model of 7 billion weights fits into your memory. What is the *most* "
    "tokens per second that your processor can reach, whatever the program? In llmdist's int4 a weight takes **4.5 bits**: "
    "4, and its share of a scale. Give a number of tokens per second; 10 % off is fine.",
    ["print(f'this machine reads {cpu.bandwidth / 1e9:.1f} GB/s')\nmy_tokens_per_second = 0.0\nprint(machine.check_tokens_per_second(my_tokens_per_second, cpu))"],
    "## Others\n\nHow close do good programs come to that limit? Three of them (llama.cpp, MLC and gpt-fast) on two cards, with "
    "a model of 7B and one sequence. The limit is again bandwidth over bytes: an RTX 4090 reads 1008 GB/s, an A100 2039 GB/s "
    "by their data sheets. F16 and bf16 have 16 bits, Q8_0 and int8 have 8, and a little for scales. *Published, not "
    "measured here.*",
    [
        "for point in machine.PUBLISHED:\n"
        "    print(f'{point.machine:11} {point.engine:15} {point.tokens_per_second:4.0f} tokens/s'\n"
        "          f' = {point.share_of_limit:.0%} of the limit   [{point.source}]')"
    ],
    "None reaches the limit, and the same program has a lower share with fewer bits. Unpacking costs instructions, and the "
    "fixed price of each step weighs more when there is less to read.\n\nAnd the demo model on your machine?\n\n"
    "**Predict before you run:** it has 5 MB of weights in bf16. How many times per second can your machine read them?",
    [
        "for step in llm.generate('One day Anna the ant walked to the', max_new_tokens=48):\n    pass\n"
        "limit = machine.limit(cpu, llm.profile.parameters, llm.profile.precision)\n"
        "print(f'{llm.stats.tokens_per_second:.0f} tokens/s measured, {limit:.0f} by bandwidth alone')\n"
        "print(f'fixed: {1e6 * cpu.overhead_seconds:.0f} us per block, {1e6 * cpu.pass_seconds:.0f} us per token')"
    ],
    "Far below! Such a small model does not wait for memory but for fixed prices: one for each block, and one for each token "
    "(asking the engine, choosing the token). Both were timed with the rest of the machine. For a 7B model they disappear "
    "behind the reading.\n\n**Question.** How many tokens per second do the fixed prices alone allow? The model has 18 blocks. (If the loading cell "
    "names a factor for the *price of a pass*, multiply the price per token by it first: runs have shown since how good the "
    "timed price was.)",
    "## What to take along\n\n* One token: bytes / bandwidth. Prompts and batches: FLOP / FLOP per second.\n"
    "* The roofline shows which of the two is the limit.\n"
    "* Your ladder decides where weights may live. Choosing homes for all blocks at once is the planner's work, and in the "
    "next lesson yours.",
    ["%llm_unload"],
]
