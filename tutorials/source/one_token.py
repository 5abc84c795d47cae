"""Lesson 1: one token, followed."""

NAME = "lesson1_one_token.ipynb"
CELLS = [
    "# 1 · One token, followed\n\nA language model writes one **token** at a time: a word, or a piece of one. For each "
    "step it gives *every* token of its vocabulary a probability, and somebody has to choose. This lesson slows the "
    "machine down to a single step and looks inside.\n\n*About 20 minutes. You need nothing but this notebook.*",
    ["%load_ext llmdist\n%llm_load demo"],
    "The model was trained on short tales. Let it write one. It chooses the most probable token each time "
    "(temperature 0), so you and your neighbour see the same text.",
    [
        "PROMPT = 'One day Anna the ant walked to the'\n"
        "print(PROMPT + ''.join(step.text for step in llm.generate(PROMPT, max_new_tokens=60)))"
    ],
    "## One step\n\n**Predict before you run:** which word comes after `One day Anna the ant walked to the`? "
    "How sure is the model?",
    [
        "from llmdist.lessons import one_token\nfrom llmdist_widgets import lessons as show\n\n"
        "show.probabilities_picture(one_token.most_probable(llm, PROMPT))"
    ],
    "Several places are possible: the tale has only begun. Now let the story fix what comes next.",
    [
        "LATER = PROMPT + ' barn. There she found a brown berry. On the way home she met Wanda the worm. Anna gave the'\n"
        "show.probabilities_picture(one_token.most_probable(llm, LATER))"
    ],
    "The model *copies* from the context. How open a choice is can be measured: the **entropy** in bits. "
    "0 bits means certain; 1 bit, a fair coin; 10 bits, all 1024 tokens alike.",
    [
        "for text in (PROMPT, LATER):\n"
        "    print(f'{one_token.entropy_bits(llm.probabilities(text)[-1:]):.2f} bits after ...{text[-24:]!r}')"
    ],
    "## Where the time goes\n\nOne step walks through every [block](../docs/glossary.md#block) in order: embedding, then "
    "attention and MLP of each layer, then the head. Generate a single token and look at the milliseconds.",
    [
        "from llmdist.events import Recorder, TokenProduced\nfrom llmdist_widgets import block_time_svg\n\n"
        "recorder = Recorder()\nfor step in llm.generate(PROMPT, max_new_tokens=2, on_event=recorder):\n"
        "    print(repr(step.text))"
    ],
    [
        "token = [event for event in recorder.events if isinstance(event, TokenProduced)][-1]\n"
        "show.Picture(block_time_svg(token), f'{len(token.computes)} blocks, one after the other')"
    ],
    "Each block waits for the one before: a token is a *chain*. That is why a single slow block slows the whole step.",
    "## Temperature\n\nInstead of the best token one can *draw* one. The **temperature** bends the probabilities first: "
    "below 1 the likely become likelier, above 1 the unlikely get a chance.\n\n"
    "**Predict:** does the entropy rise or fall with temperature?",
    [
        "start = llm.probabilities(PROMPT)[-1:]\nfor temperature in (0.3, 1.0, 2.0):\n"
        "    bent = one_token.tempered(start, temperature)\n"
        "    print(f'temperature {temperature}: {one_token.entropy_bits(bent):.2f} bits')"
    ],
    "## Exercise: which temperature made which text?\n\nThree continuations of one prompt, sampled at 0.3, 1.0 and 2.0, "
    "in an order that we do not tell.",
    ["puzzle = one_token.mystery(llm, PROMPT, seed=4)\nfor number, text in enumerate(puzzle.texts):\n    print(number, repr(text), '\\n')"],
    "Reading may be enough. Measuring is better: how *surprised* is the model by each text?",
    [
        "for number, ids in enumerate(puzzle.token_ids):\n"
        "    print(number, f'{one_token.surprise_bits(llm, PROMPT, ids):.2f} bits per token')"
    ],
    ["my_answer = [1.0, 1.0, 1.0]      # the temperature of text 0, 1 and 2\nprint(puzzle.check(my_answer))"],
    "## What to take along\n\n* A step gives probabilities; sampling chooses.\n* Entropy says how open a choice is.\n"
    "* A step is a chain of blocks, and every block reads all of its weights. The next lesson counts them.",
    ["%llm_unload"],
]
