// Live views: words and pictures that Python sends, each drawn at its own pace; the latest state wins.
const moving = { search: drawLiveSearch, generation: drawLiveGeneration };

// As `format_speed` of llmdist.units.
const speed = (v) => (v >= 100 ? v.toFixed(0) : v > 0 ? v.toPrecision(3) : "0");

function drawLiveSearch(view, setup, now, trail) {
  const bytesOfTrail = new Uint8Array(trail.buffer, trail.byteOffset, trail.byteLength);
  if (bytesOfTrail.length < setup.blocks.length * setup.width) return;
  const at = now.iterations[now.iterations.length - 1];
  drawSearch(view.nodes[0], view.nodes[1], view.nodes[2], { ...setup, ...now }, { trail: bytesOfTrail, choice: now.choice, iteration: at, entropy: now.entropy[now.entropy.length - 1] });
}

function drawLiveGeneration(view, setup, now) {
  lines(view.nodes[0], {
    title: "Speed", unit: "tokens/s", xs: now.xs, xWord: "token", zero: true,
    series: [{ values: now.speeds, colour: "best", label: `measured ${speed(now.mean)}` },
      { values: now.predicted, colour: "bound", dash: [7, 4], label: `predicted ${speed(now.predicted[now.predicted.length - 1] || 0)}` }],
  });
  memoryBars(view.nodes[1], now.memory, setup.caps, "Memory now, against the cap");
  if (now.compute.length) blockBars(view.nodes[2], setup.blocks, now.compute, now.copy, `Milliseconds per block, token ${now.token}`);
  view.timeline = { ...namedSpans(now.timeline), title: `Copies and computes of token ${now.token}` };
  view.readTimeline();
}

const SHOWN = 4000; // characters of the text's end; the lasting copy has all of it

// Only what is new is put behind the text: `text` is the end of the whole, from character `from` on.
function tellText(view, words) {
  const end = words.from + words.text.length, fresh = Math.min(words.text.length, end - view.known);
  if (fresh > 0) view.text.appendData(words.text.slice(words.text.length - fresh));
  if (view.known === 0) view.text.data = view.text.data.trimStart();
  if (view.text.length > 1.5 * SHOWN) view.text.deleteData(0, view.text.length - SHOWN);
  view.known = Math.max(view.known, end);
  view.load.hidden = words.share === undefined;
  if (!view.load.hidden) { view.load.value = words.share; view.load.setAttribute("aria-label", words.facts); }
  if (view.said.data !== words.facts) view.said.data = words.facts;
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

// The words stand in a box of their own size that keeps its end in sight, so that nothing around it is laid out anew.
function textBox(el, view) {
  const box = document.createElement("div"), inner = document.createElement("div");
  box.style.cssText = "display:flex;flex-direction:column-reverse;height:7.5em;overflow-y:auto;contain:strict;border-left:4px solid #0072B2;padding:8px 12px;margin:4px 0";
  box.tabIndex = 0; box.setAttribute("role", "log"); box.setAttribute("aria-label", "generated text");
  inner.style.cssText = "white-space:pre-wrap;overflow-wrap:anywhere;margin-bottom:auto";
  view.text = document.createTextNode(""); view.known = 0;
  view.facts = document.createElement("div");
  view.facts.style.cssText = "min-height:1.5em;contain:layout style";
  view.load = document.createElement("progress"); view.load.max = 1; view.load.hidden = true; view.load.style.marginRight = "8px";
  view.said = document.createTextNode("Waiting for the first token.");
  view.facts.append(view.load, view.said);
  inner.append(view.text); box.append(inner); el.append(box, view.facts);
}

const PLOTS = { generation: ["Speed over tokens", "Memory against the cap", "Milliseconds per block"],
  search: ["Pheromone per block and option", "Convergence of the search", "Entropy of the trail"] };

function build(model, el, setup) {
  const view = { nodes: [] }, bar = document.createElement("div");
  bar.style.cssText = "margin:4px 0 8px;display:flex;align-items:center;flex-wrap:wrap;gap:6px 18px";
  el.append(bar);
  if (setup.stop) bar.append(stopButton(model, setup.kind === "search" ? "Stop the search" : "Stop generating"));
  if (setup.what_if) bar.append(whatIf(model, setup));
  if (setup.kind === "generation") textBox(el, view);
  return view;
}

// Pictures are made when there is something to draw: a text that lasts a moment needs none.
function buildPictures(el, setup, view) {
  view.nodes = PLOTS[setup.kind].map((words) => plot(el, words));
  if (setup.kind !== "generation") return;
  const node = plot(el, "Copies and computes of the last token"), note = document.createElement("div");
  note.setAttribute("aria-live", "off"); note.style.cssText = "min-height:1.5em;opacity:.85;padding-left:12px";
  el.append(note);
  view.timeline = { measured: [], predicted: [], title: "" };
  view.readTimeline = timelineReader(node, note, () => view.timeline);
}

const filled = (state) => state && Object.keys(state).length > 0;

function render({ model, el }) {
  el.classList.add("llmdist-live");
  el.style.cssText += ";color:var(--jp-content-font-color1, inherit);max-width:960px";
  let view = null, wide = 0;
  const built = () => {
    const setup = model.get("setup");
    if (!view && setup.kind) view = build(model, el, setup);
    return view && setup;
  };
  const pictures = paced(el, () => {
    const setup = built(), now = model.get("now");
    if (!setup || !filled(now)) return;
    if (!view.nodes.length) buildPictures(el, setup, view);
    moving[setup.kind](view, setup, now, model.get("trail")); el.dataset.drawn = Number(el.dataset.drawn || 0) + 1;
  });
  const words = paced(el, () => { if (built() && filled(model.get("words"))) tellText(view, model.get("words")); });
  const off = [["setup", words.ask], ["words", words.ask], ["now", pictures.ask]].map(([name, ask]) => {
    model.on(`change:${name}`, ask);
    return () => model.off(`change:${name}`, ask);
  });
  const watcher = new ResizeObserver(() => { if (el.clientWidth !== wide) { wide = el.clientWidth; pictures.now(); } });
  watcher.observe(el); words.ask(); pictures.ask();
  return () => { off.forEach((stop) => stop()); watcher.disconnect(); words.end(); pictures.end(); };
}

export default { render };
