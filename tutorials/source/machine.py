"""Lesson 3: the machine you own."""

NAME = "lesson3_the_machine_you_own.ipynb"
CELLS = [
    "# 3 · The machine you own\n\nWhy is a language model slow on a computer that multiplies a hundred billion numbers "
    "per second? Because for each token it must *read* all its weights once. This lesson measures how fast your machine "
    "reads, and predicts tokens per second from that one number.\n\n*About 25 minutes.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "The machine was timed when the model was loaded: memory, matrix products, disk, copies.",
    ["%llm_status"],
    "## The ladder\n\n**Predict before you run:** how many times slower than memory is your disk?",
    ["from llmdist.lessons import machine\nfrom llmdist_widgets import lessons as show\n\nshow.ladder_picture(llm.hardware)"],
    "Each step down the ladder costs a factor. A weight that lives on the disk is read at the disk's speed, *every token*.",
    "## The roofline\n\nA device is limited by reading (bytes per second) or by arithmetic "
    "(FLOP per second). Which one depends on how many FLOP are done per byte that is read. One token does 2 FLOP per "
    "weight: in bf16 that is 1 FLOP per byte. A prompt of 256 tokens does them all while reading each weight once.",
    [
        "cpu = llm.hardware.device('cpu')\n"
        "show.roofline_picture(cpu, {'decode, 1 token': 1.0, '8 sequences': 8.0, 'prompt of 256': 256.0})"
    ],
    "**Read off:** is decoding limited by memory or by arithmetic on your machine? How many sequences at once would "
    "bring it to the ridge?",
    "## Exercise: a 7B model in 4 bits\n\nSuppose it fits into your memory. What is the *most* tokens per second that "
    "your processor can reach, whatever the program? (4 bits per weight, plus a little for the scales.)",
    ["print(f'this machine reads {cpu.bandwidth / 1e9:.1f} GB/s')\nmy_tokens_per_second = 0.0\nprint(machine.check_tokens_per_second(my_tokens_per_second, cpu))"],
    "## Others\n\nHow close do good programs come to that limit? These are published measurements with one sequence.",
    [
        "for point in machine.PUBLISHED:\n"
        "    print(f'{point.machine:12} {point.engine:15} {point.tokens_per_second:6.0f} tokens/s'\n"
        "          f' = {point.share_of_limit:.0%} of the limit')"
    ],
    "The fewer bits, the lower the share: unpacking costs instructions, and the fixed price of each step weighs more. "
    "And the demo model on your machine?",
    [
        "for step in llm.generate('One day Anna the ant walked to the', max_new_tokens=48):\n    pass\n"
        "limit = machine.limit(cpu, llm.profile.parameters, llm.profile.precision)\n"
        "print(f'{llm.stats.tokens_per_second:.0f} tokens/s measured, {limit:.0f} by bandwidth alone')"
    ],
    "Far below! Such a small model does not wait for memory but for the fixed price of every operation. "
    "`%llm_status` shows that price in the column *per block*. For a 7B model it disappears behind the reading.",
    "## What to take along\n\n* Decoding: bytes / bandwidth. Prompts and batches: FLOP / FLOP per second.\n"
    "* Your ladder decides where weights may live. Choosing homes for all blocks at once is the planner's work.",
    ["%llm_unload"],
]
