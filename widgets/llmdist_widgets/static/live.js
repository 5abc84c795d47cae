// Live views: draws what Python sends, once per animation frame; the latest state wins.
const moving = { search: drawLiveSearch, generation: drawLiveGeneration };

function drawLiveSearch(view, setup, now, trail) {
  const bytesOfTrail = new Uint8Array(trail.buffer, trail.byteOffset, trail.byteLength);
  if (bytesOfTrail.length < setup.blocks.length * setup.width) return;
  const at = now.iterations[now.iterations.length - 1];
  drawSearch(view.nodes[0], view.nodes[1], view.nodes[2], { ...setup, ...now }, { trail: bytesOfTrail, choice: now.choice, iteration: at, entropy: now.entropy[now.entropy.length - 1] });
}

function drawLiveGeneration(view, setup, now) {
  view.words.textContent = now.text.trimStart();
  view.facts.textContent = now.facts;
  lines(view.nodes[0], {
    title: "Speed", unit: "tokens/s", xs: now.xs, xWord: "token", zero: true,
    series: [{ values: now.speeds, colour: "best", label: `measured ${number(now.mean)}` },
      { values: now.predicted, colour: "bound", dash: [7, 4], label: `predicted ${number(now.predicted[now.predicted.length - 1] || 0)}` }],
  });
  memoryBars(view.nodes[1], now.memory, setup.caps, "Memory now, against the cap");
  if (now.compute.length) blockBars(view.nodes[2], setup.blocks, now.compute, now.copy, `Milliseconds per block, token ${now.token}`);
  if (now.timeline) { view.timeline = { ...namedSpans(now.timeline), title: `Copies and computes of token ${now.token}` }; view.readTimeline(); }
}

function stopButton(model, words) {
  const button = document.createElement("button");
  button.type = "button"; button.textContent = "Stop"; button.setAttribute("aria-label", words);
  button.style.cssText = "min-width:88px;padding:4px 14px;margin-right:12px";
  button.onclick = () => { model.send({ ask: "stop" }); button.textContent = "Stopping"; button.disabled = true; };
  return button;
}

// Asks for a plan under a smaller cap while tokens go on; Python answers in `now.facts` and moves between two tokens.
function whatIf(model, setup) {
  const row = document.createElement("span"), label = document.createElement("label"), select = document.createElement("select");
  label.textContent = `What if ${setup.what_if.device} had `;
  for (const size of setup.what_if.sizes) select.append(new Option(bytes(size), size));
  select.onchange = () => model.send({ ask: "what_if", cap: Number(select.value) });
  label.append(select); row.append(label);
  return row;
}

function build(model, el, setup) {
  const view = { nodes: [] }, bar = document.createElement("div");
  bar.style.cssText = "margin:4px 0 8px;display:flex;align-items:center;flex-wrap:wrap;gap:6px 18px";
  el.append(bar);
  if (setup.stop) bar.append(stopButton(model, setup.kind === "search" ? "Stop the search" : "Stop generating"));
  if (setup.kind === "generation") {
    if (setup.what_if) bar.append(whatIf(model, setup));
    view.words = document.createElement("div");
    view.words.style.cssText = "white-space:pre-wrap;overflow-wrap:anywhere;border-left:4px solid #0072B2;padding:8px 12px;margin:4px 0";
    view.words.setAttribute("role", "log"); view.words.setAttribute("aria-label", "generated text");
    view.facts = document.createElement("div");
    el.append(view.words, view.facts);
    view.nodes = ["Speed over tokens", "Memory against the cap", "Milliseconds per block"].map((words) => plot(el, words));
    const node = plot(el, "Copies and computes of the last token"), note = document.createElement("div");
    note.setAttribute("aria-live", "off"); note.style.cssText = "min-height:1.5em;opacity:.85;padding-left:12px";
    el.append(note);
    view.timeline = { measured: [], predicted: [], title: "" };
    view.readTimeline = timelineReader(node, note, () => view.timeline);
  } else view.nodes = ["Pheromone per block and option", "Convergence of the search", "Entropy of the trail"].map((words) => plot(el, words));
  return view;
}

function render({ model, el }) {
  el.classList.add("llmdist-live");
  el.style.cssText += ";color:var(--jp-content-font-color1, inherit);max-width:960px";
  let view = null, pending = false;
  const draw = () => {
    pending = false;
    const setup = model.get("setup"), now = model.get("now");
    if (!setup.kind) return;
    view = view || build(model, el, setup);
    if (now && Object.keys(now).length) { moving[setup.kind](view, setup, now, model.get("trail")); el.dataset.drawn = Number(el.dataset.drawn || 0) + 1; }
  };
  const ask = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };
  model.on("change:now", ask); model.on("change:setup", ask);
  const watcher = new ResizeObserver(ask);
  watcher.observe(el); ask();
  return () => { model.off("change:now", ask); model.off("change:setup", ask); watcher.disconnect(); };
}

export default { render };
