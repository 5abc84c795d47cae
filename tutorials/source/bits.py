"""Lesson 6: fewer bits, block by block."""

NAME = "lesson6_fewer_bits.ipynb"
LEARN = "what rounding costs, and where bits are worth their bytes"
CELLS = [
    "# 6 · Fewer bits\n\nThe weights of the demo model come in bf16: 16 bits each. A model that is too large can be made "
    "smaller: store each weight in 8 bits (int8) or 4 (int4). This is its [precision](../docs/glossary.md#precision). The weights are rounded for it, so the model changes. "
    "How much, and *where*?\n\n*About 30 minutes. Everything is **measured** with the "
    "demo model and llmdist's own int8 and int4. Only 3 bits and fewer are **made**: rounded the same way, but "
    "llmdist does not store them.*",
    [
        "import torch\n\nfrom llmdist.kernels.packing import GROUPS, pack, packed_bytes\nfrom llmdist.lessons import bits, bits_made\n"
        "from llmdist_widgets import bits as show\n\njudge = bits.judge()  # reads tales that the model has never seen"
    ],
    "## One group of weights\n\nThe weights of a block are a few matrices. We look at one of them, from the last MLP. Take 32 neighbouring weights of one row: a **[group](../docs/glossary.md#group)**. int4 has 16 "
    "whole numbers, the **codes** -8 to 7. The group shares one **[scale](../docs/glossary.md#scale)**, and a weight is "
    "stored as the code with `code * scale` nearest to it. The scale is chosen so that the weight of largest size, positive or negative, becomes -8. (So a scale may be negative, and "
    "the codes then run downwards.)",
    [
        "matrix = judge.weights('layers.7.mlp', 'down')\n\n"
        "def rounded(group):\n    scale = float(group[group.abs().argmax()]) / -8\n"
        "    codes = (group / scale).round().clamp(-8, 7)\n    return scale, codes.int().tolist()"
    ],
    "**Predict before you run:** two neighbouring levels are one scale apart. How large can the rounding error of a weight be?",
    [
        "group = matrix[0, :32]\nscale, codes = rounded(group)\nshow.rounding_picture(group.tolist(), scale, codes)"
    ],
    "Half a step: a weight lies between two levels and takes the nearer one. (One exception: there is no code +8. A weight "
    "beyond +7.5 steps takes code +7.)\n\nIs this what llmdist does? Its `pack` makes the real bytes. Unpack them and compare:",
    [
        "by_hand = scale * torch.tensor(codes)\nreal = pack(matrix, 'int4').dequantise()[0, :32]\n"
        "print(f'largest difference: {float((by_hand - real).abs().max()):.6f}, one step is {abs(scale):.4f}')"
    ],
    "None: you have just written int4. (The scale is stored in 16 bits; that is enough for it.)\n\n## One large weight\n\nNow the group that holds the "
    "largest weight of the whole matrix.\n\n**Predict before you run:** what happens to the 31 others?",
    [
        "row, column = divmod(int(matrix.abs().argmax()), matrix.shape[1])\nstart = column // 32 * 32\n"
        "group = matrix[row, start : start + 32]\nscale, codes = rounded(group)\n"
        "show.rounding_picture(group.tolist(), scale, codes)"
    ],
    "The large one, an **[outlier](../docs/glossary.md#outlier)**, sets the scale for all. The steps become so wide that "
    "the others share a few levels, and most of the 16 are not used. That is why groups are small: an outlier spoils only "
    "its own group. But every group needs 16 bits for its scale.\n\n**Predict before you run:** with a group of 128 instead "
    "of 32, how many bits does a weight take, and does the error rise?",
    [
        "def error(packed):\n    return float((packed.dequantise() - matrix).norm() / matrix.norm())\n\n"
        "for size in GROUPS:\n    each = 8 * packed_bytes('int4', 8, 4096, size) / (8 * 4096)  # of rows of 4096\n"
        "    print(f'int4, {size:3} weights per scale: {each:.3f} bits each, error {error(pack(matrix, \"int4\", size)):.1%}')\n"
        "print(f'int8, one scale per row:            error {error(pack(matrix, \"int8\")):.1%}')"
    ],
    "llmdist uses groups of 32. The error is about a tenth of the weights' size. Is that a lot? The weights cannot tell. "
    "Ask the model.\n\n## The whole model\n\nFour numbers for each choice of bits, over twelve tales that were not in the training:\n\n"
    "* the **bytes** of all weights;\n"
    "* the share of **answers** to questions about the tale that are exactly right;\n"
    "* the **[loss](../docs/glossary.md#loss)**: how surprised the model is by the true next token, in nats per token "
    "(lesson 1 had bits; a nat is 1.44 bits);\n"
    "* the **[divergence](../docs/glossary.md#divergence)** from bf16: how far *all* probabilities have moved, "
    "in nats per 1000 tokens. 0 means that nothing has changed.\n\n"
    "(Sums are computed in float32 here, so that only the rounding of weights is seen.)\n\n"
    "**Predict before you run:** the error of int4 is a tenth of the weights. How many of the answers get lost?",
    [
        "def line(name, score):\n    print(f'{name:10} {score.nbytes / 1e6:5.2f} MB   answers {score.exact:4.0%}   '\n"
        "          f'loss {score.loss:.4f}   divergence {score.divergence:7.4f}')\n\n"
        "scores = {name: judge.score(judge.everything(name)) for name in ('bf16', 'int8', 'int4')}\n"
        "for name, score in scores.items():\n    line(name, score)"
    ],
    "None is lost. Rounding errors go up and down, and in a sum over a whole row they largely cancel. The loss hardly moves "
    "either; it may even fall, by luck: some tokens get likelier, some less likely, and a mean does not show it. "
    "The divergence counts every change, so it is the fine scale that we need. int4 is about a hundred "
    "times as far from bf16 as int8 is.\n\n"
    "**Where is the cliff?** We go on rounding, to bits that llmdist does not store (**made**, see the top).",
    [
        "made = {f'{n} bit': bits_made.made_score(judge, n) for n in (3, 2, 1)}\n"
        "for name, score in made.items():\n    line(name, score)"
    ],
    "Down to 2 bits all answers stay. With 1 bit a weight is 0 or as large as the largest of its group, and the model is worse than one that finds all tokens alike."
    " It forgives a great deal, probably because it has more "
    "weights than its simple tales need. Large models are often less patient (their outliers are larger). So do not carry these numbers over to them. Carry over the *method*.\n\n"
    "## Which block does the damage?\n\nThe model has 17 [blocks](../docs/glossary.md#block) with weights (the embedding reads its rows from "
    "the file). Round *one* block to int4 and leave all others in bf16: its **[sensitivity](../docs/glossary.md#sensitivity)**."
    "\n\n**Predict before you run:** are all blocks alike? Which is the worst?",
    ["alone = bits.sensitivity(judge, 'int4')\nshow.sensitivity_picture(alone)"],
    "Two blocks do nearly everything. One reason: after the head nothing comes that could repair an error, and each of its "
    "rows belongs to one token. An early block's error passes many others, and in this model it hardly arrives.\n\nDo damages add up?",
    [
        "print(f'sum of all bars {sum(alone.values()):.4f}, int4 everywhere {scores[\"int4\"].divergence:.4f}')"
    ],
    "Nearly. So you can plan with the bars: no need to try every combination of 17 blocks.\n\n"
    "## Quality against bytes\n\nNow choose by block. Start with int4 everywhere and give a block more:",
    [
        "mine = {\n    'my head int8': judge.everything('int4') | {'head': 'int8'},\n"
        "    'my layer 0': judge.everything('int4') | {'layers.0.attention': 'bf16', 'layers.0.mlp': 'bf16'},\n}\n"
        "for name, choice in mine.items():\n    scores[name] = judge.score(choice)\nshow.quality_picture(scores)"
    ],
    "Each grid line is ten times better than the one above it. The head in int8 is hardly larger than int4 and many times better. "
    "Layer 0 takes far more bytes and brings nothing you could see.\n\n"
    "**Try it:** add choices of your own to `mine`. Names that begin with `my` are orange.",
    "## Exercise: the best score for the bytes\n\nYou have 1.72 MB. What is the smallest divergence? `my_choice` is a dict "
    "from block to `'int4'`, `'int8'` or `'bf16'`; a block that you do not name is bf16.\n\n"
    "The check compares with a simple rule: start with int4 everywhere; again and again buy the step that takes away the most divergence *per byte*, "
    "as long as one fits. You may be 0.001 nats per 1000 tokens behind it. Bytes differ by kind of block:",
    [
        "for name in ('layers.0.attention', 'layers.0.mlp', 'head'):\n"
        "    print(f'{name:18}', {p: judge.block_bytes(name, p) for p in ('int4', 'int8', 'bf16')})"
    ],
    [
        "BUDGET = 1_720_000\nmy_choice = judge.everything('int4')      # | {block: precision, ...}\n\n"
        "print(bits.check_choice(my_choice, judge, BUDGET))"
    ],
    ["show.quality_picture(scores | {'my choice': judge.score(my_choice)}, BUDGET)"],
    "When the check says *Right*, compare your point with int8 everywhere. Which has fewer bytes? Which is better?\n\n"
    "**Hint.** `bits.sensitivity(judge, 'int8')` shows what is still left when a block has int8.",
    "## What to take along\n\n* A group shares a scale; the error of a weight is at most about half a step.\n"
    "* An outlier widens the steps of its whole group. Small groups cost bits and save quality.\n"
    "* Judge a model by what it says, not by its weights; and use a scale fine enough to see a change.\n"
    "* Blocks differ by factors of thousands. Measure each one alone, then buy bits per byte where they count.\n"
    "* Fewer bytes are also read faster: what lesson 3 said about bandwidth holds for every byte saved.\n\n"
    "llmdist's planner takes a precision for each block as well: `%llm_plan --precision bf16,int8,int4`.\n\n"
    "*Sources: LLM.int8() (Dettmers et al., NeurIPS 2022) for outliers in large models; GPTQ (Frantar et al., ICLR 2023) "
    "and AWQ (Lin et al., MLSys 2024) for better ways to round to 4 bits.*",
]
