"""Lesson 8: serving many, and many machines."""

NAME = "lesson8_serving_many.ipynb"
LEARN = "batches, pages of cache, and when a second machine helps"
CELLS = [
    "# 8 · Serving many, and many machines\n\nSo far one person asked and one machine answered. Now many people ask at "
    "once. Three questions: *who is served when*, *where does everybody's memory go*, and *do more machines help*?\n\n"
    "*About 40 minutes. The first part is **measured** with the demo model on this machine. Everything after it is "
    "**simulated**: llmdist has no server for many users and runs on one machine. Where a number comes from is said "
    "each time.*",
    [
        "import llmdist\nfrom llmdist.lessons import many_machines, serving\n"
        "from llmdist.lessons.serving_inputs import Server, requests\n"
        "from llmdist.lessons.serving_simulator import simulate\n"
        "from llmdist_widgets import serving as show\n\n"
        "prompts = [f'One day {name} the ant walked to the' for name in 'Anna Ben Clara David Ella Felix Grace Hugo'.split()]\n"
        "session = llmdist.load('demo')\nplan = session.plan(context=256, batch=8, seconds=0.5)"
    ],
    "## Eight together\n\n`generate_batch` takes several prompts as one **[batch](../docs/glossary.md#batch)**: each step "
    "makes one token for every [sequence](../docs/glossary.md#sequence).\n\n**Predict before you run:** eight prompts one "
    "after the other take some time. Eight together: the same time, half of it, an eighth?",
    [
        "alone, together = serving.one_after_the_other(session, prompts)\n"
        "print(f'one after the other {alone:.3f} s, together {together:.3f} s: {alone / together:.1f} times faster (measured)')"
    ],
    "Why is it so cheap? Each step calls every operator and reads every weight *once*, whoever it is for. (In so small a "
    "model the calls weigh most, in a large one the weights: lesson 3.) Let the batch grow:",
    ["measured = serving.measure(session, prompts, sizes=(1, 2, 4, 8))\nshow.steps_picture(measured)"],
    "A step for eight takes longer than a step for one, but not eight times. So a step has a *fixed* price and a price *per "
    "sequence*. A straight line through the measured points gives both:",
    [
        "cost = serving.fitted(measured)\nsession.unload()\n"
        "print(f'one step: {1e3 * cost.fixed:.2f} ms, and {1e3 * cost.sequence:.3f} ms for each sequence (measured)')"
    ],
    "## Who is served when?\n\nPeople do not arrive together, and their answers differ in length. We **simulate** a server "
    "with four places. The seconds of its steps come from your measured line; the requests are made up.\n\n"
    "* **[Static batching](../docs/glossary.md#static-batching)**: take up to four who wait, answer them all, then take the "
    "next four. A place whose answer has ended stays taken. llmdist's `generate_batch` works so.\n"
    "* **[Iteration-level batching](../docs/glossary.md#iteration-level)**: after *every step*, whoever has ended leaves and "
    "whoever waits comes in. It is also called continuous batching. (Orca, OSDI 2022.)\n\n"
    "**Predict before you run:** sixteen requests, the same arrivals and lengths for both. How many times "
    "longer does the average request take, from arrival to its last token, with static batching?",
    [
        "step = cost.seconds(4)\nasked = requests(16, rate=0.1 / step, seed=1, prompt=8, new=40)  # one arrives every ten steps\n"
        "static, level = (simulate(asked, cost, Server(places=4, iteration_level=on)) for on in (False, True))\n"
        "show.requests_picture({'static': static, 'iteration-level': level})"
    ],
    "Orange is a place that is kept for nobody, grey is somebody who waits meanwhile. In the first picture even a free "
    "place helps nobody: the first batch was taken when only one request had arrived, and all others must wait for its end. "
    "In the second picture there is no orange: a place is given away in the next step. (A newcomer's prompt is read in "
    "that step, so the others wait a little for it.)\n\n**Try it:** change `rate` to `0.02 / step`, so that one arrives "
    "every fifty steps. Why do the two come closer?",
    "## Where does everybody's memory go?\n\nMore places make more tokens per second. What limits them is the "
    "**[KV cache](../docs/glossary.md#kv-cache)** of every sequence (lesson 2). The demo model is too small to feel it, so we "
    "change to Llama 2 13B in int8 on an RTX 4090. (The weights are in int8; the cache keeps 16 bits: keys and values of 40 layers "
    "with 40 heads of 128 numbers.) The seconds of a step now come from the planner's cost model: **simulated**.",
    [
        "case = serving.case('llama-2-13b', 'rtx4090', 'int8')\n"
        "print(f'{case.token_bytes / 2**20:.2f} MiB of cache per token; beside the weights there is room for {case.cache_tokens} tokens')"
    ],
    "Nobody knows how long an answer will be. So a server may *reserve* the longest: one contiguous piece for the whole "
    "[context](../docs/glossary.md#context), here 2048 tokens. llmdist's engine does so. Or it gives the cache out in small "
    "**[pages](../docs/glossary.md#page)** of 16 tokens, the next one when the last is full. (PagedAttention in vLLM, SOSP "
    "2023.)\n\n**Predict before you run:** a request here has 100 prompt tokens and 150 new ones on average. How many "
    "requests fit at once when each reserves 2048 tokens? And with pages?",
    [
        "asked = requests(100, rate=6, seed=2)\n"
        "pages = {'contiguous': 2048, 'pages of 16': 16}\n"
        "runs = {name: simulate(asked, case.cost, case.server(page)) for name, page in pages.items()}\n"
        "show.memory_picture(runs, case)"
    ],
    "Both servers have the same card and the same requests. (A page of 2048 *is* the contiguous reservation.) Most of what "
    "the first holds stays empty, and so few requests run that the others wait: it needs much longer. "
    "The second has room to spare: more would fit, but no more are there.\n\nPages have a price too. The code that reads the cache must look up "
    "where each page is. The vLLM paper measured a 20 to 26 % slower attention for it; the simulator reads a "
    "paged cache 25 % slower. And when all pages are taken, the one who came last is sent back: its pages go to the "
    "others, and later its tokens are read again.",
    "## How many a second?\n\nA server is good if people get their answer *in time*: here, the whole answer within 20 "
    "seconds of asking. We raise the load, the requests per second.",
    [
        "rates = (0.5, 1, 2, 4, 6, 8)\n"
        "shares = {name: [serving.share_within(case, rate, page) for rate in rates] for name, page in pages.items()}\nshow.load_picture(rates, shares)"
    ],
    "At a small load both are equal: memory is not short, and paging wins nothing. Then contiguous falls, and pages hold on.\n\n"
    "**Exercise.** From which load on does paging win? *Winning* means: of all requests, it answers at least 5 in 100 more "
    "within 20 seconds. Ten percent off is fine.\n\n*Estimate first:* how many contiguous requests, n, fit at once? How "
    "long does an answer of 150 tokens keep its place, if a step takes about `case.cost.seconds(n, n * 200)`? (The second number is the tokens in the cache, some 200 of each "
    "request.) If each of n places is kept for T seconds, n / T requests a second can be served. Then narrow it "
    "down with `serving.share_within(case, rate, page)`: the page is 2048 or 16.",
    ["my_load = 1.0\nprint(serving.check_paging_wins(my_load, case))"],
    "**Question.** Is your answer above or below your estimate, and why? (Nobody is late at once: a queue must grow first.)\n\n"
    "**Question.** What if a page had 256 tokens? 1024? Compare `simulate(asked, case.cost, case.server(256)).waste` with the "
    "picture above, then think: who would want larger pages?",
    "## Do more machines help?\n\nFour computers, m0 to m3, each with a card of 12 or 8 GB, share a network of 1 Gbit/s (from "
    "the catalog). The planner may put any block on any of them. Computers hand the token on like a relay: the blocks on one "
    "computer are a **[stage](../docs/glossary.md#stage)**, and from stage to stage is a "
    "**[hop](../docs/glossary.md#hop)** over the network. In llmdist a stage is a child process on *one* machine; plans for "
    "several are **simulated**.\n\n**Predict before you run:** how many of the four computers does the planner use to make "
    "*one* answer as fast as possible: for a model of 8B, of 13B, of 70B parameters? (In brackets: one of "
    "the larger computers, an RTX 3060 with 12 GB, alone.)",
    [
        "for model, precision in (('llama-3-8b', 'int4'), ('llama-2-13b', 'int8'), ('llama-3-70b', 'int4')):\n"
        "    one, four = (many_machines.placed(model, machine, precision) for machine in ('rtx3060', 'four-1g'))\n"
        "    way, used = many_machines.crossing(four.problem, four.placement), set(many_machines.computers(four.placement))\n"
        "    print(f'{model:11} uses {len(used)} of 4: {1e3 * four.prediction.tpot_seconds:6.1f} ms per token '\n"
        "          f'(one computer: {1e3 * one.prediction.tpot_seconds:6.1f} ms); network per token: '\n"
        "          f'hops {way.hops:2}, {way.bytes / 1024:3.0f} KiB, {1e3 * way.seconds:.1f} ms')"
    ],
    "A model that fits into one card stays there: more computers would only add hops. A large one gains a lot, because "
    "fewer of its weights lie in slow memory. And the network? It carries no weights: one vector per hop. The token "
    "of a 70B model may visit a computer several times: all hops together are a small part of its time, so the planner "
    "does not mind. (What is left out: the finished token goes back to the first computer.)",
    "## Bytes or waiting?\n\nBetter cables, 10 Gbit/s: ten times the bandwidth.\n\n**Predict before you run:** how much "
    "faster is the network part for one token? For a prompt of 900 tokens, which passes all at once?",
    [
        "four = many_machines.placed('llama-2-13b', 'four-1g')\n"
        "for name in ('four-1g', 'four-10g'):\n    made = many_machines.over(four.problem, name)\n"
        "    for tokens in (1, 64, 900):\n        way = many_machines.crossing(made, four.placement, tokens)\n"
        "        print(f'{name:8} {tokens:4} tokens: {way.bytes / 1024:6.0f} KiB, {1e3 * way.seconds:6.2f} ms')"
    ],
    "One token is so small that a hop is nearly all *[latency](../docs/glossary.md#link)*: waking up and waiting, which "
    "no bandwidth shortens. Only many tokens at once, a prompt or a large batch, feel the better cable.",
    "## The relay\n\nNow we ask the planner for the most tokens *of all sequences together*, with four "
    "**[in flight](../docs/glossary.md#in-flight)**. It spreads the model over all four computers. In the picture each row is a card, in the order in which a token visits them.\n\n**Predict before you "
    "run:** with one sequence, how much of the time does a card compute? With four?",
    [
        "spread = many_machines.placed('llama-2-13b', 'four-1g', in_flight=4)\n"
        "show.relay_picture({f'{n} in flight': many_machines.relay(spread.problem, spread.placement, n) for n in (1, 2, 4)})"
    ],
    [
        "for n in (1, 2, 4):\n    total = many_machines.tokens_per_second(spread.problem, spread.placement, n)\n"
        "    print(f'{n} in flight: {total:5.1f} tokens/s together, {total / n:5.1f} for each (simulated)')\n"
        "print(f'planned for one sequence: {1 / four.prediction.tpot_seconds:.1f} tokens/s')"
    ],
    "A single token cannot be at two places: with one sequence, three cards wait for the fourth. (A thin line is a card that "
    "computes only the last block. Beginning and end, where the relay fills and empties, count as well.) Four sequences fill the "
    "relay. Nobody is served faster than alone, but nearly four times as many are served. So the plan for *one* and the plan "
    "for *many* differ.\n\n**Question.** What would six in flight bring? Think of the cards in the last picture, then "
    "try it.",
    "## What to take along\n\n* A step reads the weights once for all: batching is cheap until compute or memory runs out.\n"
    "* Decide after every step who runs, not after every batch.\n"
    "* Small pages waste little memory. They cost a little time and pay under load.\n"
    "* More machines hold larger models and serve more people. They do not make one answer of a small model faster.\n"
    "* On the network, a token pays for waiting, a prompt for bytes.\n\n"
    "*Sources: Orca (Yu et al., OSDI 2022) for iteration-level scheduling; PagedAttention and vLLM (Kwon et al., SOSP 2023) "
    "for pages.*",
]
