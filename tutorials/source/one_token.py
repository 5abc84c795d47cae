"""Lesson 1: one token, followed."""

NAME = "lesson1_one_token.ipynb"
LEARN = "what is computed for one token, and what temperature changes"
CELLS = [
    "# 1 · One token, followed\n\nA language model writes one **[token](../docs/glossary.md#token)** at a time: a word, or a "
    "piece of one. For each step it gives *every* token of its vocabulary a probability, and somebody has to choose. This "
    "lesson slows the machine down to a single step and looks inside.\n\n*About 30 minutes. You need nothing but this "
    "notebook. All numbers are **measured** here; yours may differ a little.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "The picture is about your machine; lesson 3 reads it. A table below it, if there is one, compares earlier runs with what the "
    "planner had predicted, and its last line says by which factors the planner has corrected itself since: skip both. Now "
    "only the line above matters: a small model, in 18 blocks. "
    "It was trained on short tales. Let it write one. It takes the most probable token each time, so you and your "
    "neighbour see the same text.",
    [
        "PROMPT = 'One day Anna the ant walked to the'\n"
        "print(PROMPT + ''.join(step.text for step in llm.generate(PROMPT, max_new_tokens=60)))"
    ],
    "It does not know when a tale is over: it goes on with questions and answers, as its training texts did, until the 60 "
    "tokens are used up.\n\n## One step\n\n**Predict before you run:** which word comes after "
    "`One day Anna the ant walked to the`? How sure is the model?",
    [
        "from llmdist.lessons import one_token\nfrom llmdist_widgets import lessons as show\n\n"
        "show.probabilities_picture(one_token.most_probable(llm, PROMPT))"
    ],
    "A bar is a candidate, the eight most probable ones first; its length is the probability. (The quotes show that a token "
    "brings its own space.) Many places are about equally likely: the tale has only begun.\n\nNow let the tale go on and ask "
    "for the place. The last words are `to the`, as before.\n\n**Predict before you run:** is the choice as open as before?",
    [
        "TALE = (' barn. There she found a brown berry. On the way home she met Wanda the worm. The sun was very hot, '\n"
        "        'so they used the brown berry as a hat. Anna thanked Wanda and was happy.')\n"
        "LATER = PROMPT + TALE + '\\nQ: Where did Anna go?\\nA: to the'\n"
        "show.probabilities_picture(one_token.most_probable(llm, LATER))"
    ],
    "The model *copies* from what it has read. (Change `barn` to `pond` and run the cell again.) How open a choice is can be "
    "measured: the **[entropy](../docs/glossary.md#entropy)** in bits. 0 bits: one token is certain. 1 bit: two are alike, "
    "a fair coin. 2 bits: four alike. 10 bits: 1024 alike.",
    [
        "for text in (PROMPT, LATER):\n"
        "    print(f'{one_token.entropy_bits(llm.probabilities(text)[-1:]):.2f} bits after ...{text[-24:]!r}')"
    ],
    "**Question.** *2 to the power of* the first number: to how many equally likely places does that choice amount?\n\n"
    "## Where the time goes\n\nWhat is computed in such a step? The **embedding** turns the last token into a *vector*, a list "
    "of numbers. Then it passes layer after layer, and each has two halves: **attention** looks back at the tokens before and "
    "fetches what matters from them, the **MLP** works on the vector alone. Last, the **head** turns the vector into a "
    "probability for every token. What all of them multiply with, the numbers that were learned in training, are the "
    "**weights**.\n\nEmbedding, every attention, every MLP and the head are the [blocks](../docs/glossary.md#block) of "
    "llmdist. Generate a few tokens and look at the milliseconds of the last one. (The first would not do: for it the whole "
    "prompt is read as well.)",
    [
        "from llmdist.events import Recorder, TokenProduced\nfrom llmdist_widgets import block_time_svg\n\n"
        "recorder = Recorder()  # keeps what the engine reports\n"
        "for step in llm.generate(PROMPT, max_new_tokens=12, on_event=recorder):\n    print(repr(step.text), end=' ')"
    ],
    [
        "token = [event for event in recorder.events if isinstance(event, TokenProduced)][-1]\n"
        "show.Picture(block_time_svg(token), f'{len(token.computes)} blocks, one after the other')"
    ],
    "Two bars for each layer, attention and then MLP. (Nothing is copied here: the whole model is in memory. One bar far "
    "above the others is another program that wanted the processor: run both cells again.)\n\nEach block waits for the one "
    "before: a token is a *chain*. That is why a single slow block slows the whole step.",
    "## Temperature\n\nInstead of the most probable token one can *draw* one, as with a die. The "
    "**[temperature](../docs/glossary.md#temperature)** T bends the probabilities first: each is taken to the power 1/T, then "
    "all are scaled to the sum 1. Below 1 the likely become likelier, above 1 the unlikely get a chance.\n\n"
    "**Predict before you run:** does the entropy rise or fall with temperature?",
    [
        "start = llm.probabilities(PROMPT)[-1:]\nfor temperature in (0.3, 1.0, 2.0):\n"
        "    bent = one_token.tempered(start, temperature)\n"
        "    print(f'temperature {temperature}: {one_token.entropy_bits(bent):.2f} bits')"
    ],
    "It rises. Between 0.3 and 1.0 there is little to see: the places are about equally likely, and equals stay equal when "
    "they are bent. At 2.0 words come in that are no places at all.",
    "## Exercise: which temperature made which text?\n\nThree continuations of one prompt, drawn at 0.3, 1.0 and 2.0, in an "
    "order that we do not tell. (A � is half a character: at high temperature even that is drawn.)",
    ["puzzle = one_token.mystery(llm, PROMPT, seed=4)\nfor number, text in enumerate(puzzle.texts):\n    print(number, repr(text), '\\n')"],
    "Reading may be enough. Measuring is better: how *surprised* is the model? The surprise at a token is -log2 of the "
    "probability that it had at temperature 1: 0 bits if it was certain, 1 bit if it was one of two, 10 bits if it was one "
    "of 1024.",
    [
        "for number, ids in enumerate(puzzle.token_ids):\n"
        "    print(number, f'{one_token.surprise_bits(llm, PROMPT, ids):.2f} bits per token')"
    ],
    "Write the three temperatures in the order of the texts. The check says how many fit.",
    ["my_answer = [1.0, 1.0, 1.0]      # the temperatures of text 0, 1 and 2\nprint(puzzle.check(my_answer))"],
    "## What to take along\n\n* A step gives probabilities; sampling chooses.\n* Entropy says how open a choice is.\n"
    "* A step is a chain of blocks: embedding, attention and MLP of every layer, head.\n"
    "* Every block multiplies with its weights, so for each token they must be read. The next lesson counts them.",
    ["%llm_unload"],
]
