// The copy/compute timeline of one token: measured lanes over predicted ones, waits shaded, the price of a pass green, a span under the pointer named.
// Arrives by index: lanes, names, and spans of numbers.
const namedSpans = (data) => {
  const kinds = ["compute", "copy", "wait", "transfer", "pass"];
  const named = (spans) => spans.map(([lane, kind, start, end, name]) => [data.lanes[lane], kinds[kind], start, end, data.names[name]]);
  return { ...data, measured: named(data.measured), predicted: named(data.predicted) };
};
// Drawn, a span is [lane, kind, start, end, words] with times in ms; kind is compute, copy, wait, transfer or
// pass (its fixed price); 0 is where the token's first block begins, so the price and copies that ran ahead of it have negative times.
const laneOrder = (spans) => [...new Set(spans.map((span) => span[0]))].sort((a, b) => a.startsWith("copy") - b.startsWith("copy") || (a < b ? -1 : 1));

function timelineRows({ measured, predicted }) {
  const rows = [];
  for (const [words, spans] of [["measured", measured], ["predicted", predicted]]) {
    if (spans && spans.length) laneOrder(spans).forEach((lane, i) => rows.push({ title: i ? "" : words, lane, spans: spans.filter((span) => span[0] === lane) }));
  }
  return rows;
}

const COLOURS = { copy: "streamed", pass: "pass", transfer: "wait" };

// How long a token is, its fixed price included; the price is named where it fits.
function lengthWords(s, spans, x) {
  const price = spans.filter((span) => span[1] === "pass").reduce((sum, span) => sum + span[3] - span[2], 0);
  const whole = `${number(price + Math.max(...spans.map((span) => span[3])))} ms`, words = `${whole}, ${number(price)} ms of it the price of a pass`;
  s.c.font = FONT;
  return price && x + s.c.measureText(words).width <= s.w ? words : whole;
}

function timeline(node, data, selected = null) {
  const rows = timelineRows(data), high = 24, gap = 22, spans = rows.flatMap((row) => row.spans), prices = spans.filter((span) => span[1] === "pass");
  const key = arranged(node, [square("resident", "compute"), square("streamed", "copy"), ...(prices.length ? [square("pass", "price of a pass")] : []),
    [22, "waits for its weights", (s, x, y) => hatch(s.c, x, y, 22, 12, s.p.wait)]]), top = 50 + key.more;
  const blocks = rows.filter((row) => row.title).length;
  const s = surface(node, top + high * rows.length + gap * blocks + 40), { c, p } = s;
  title(s, data.title);
  legend(s, key);
  const end = Math.max(1e-9, ...spans.map((span) => span[3]));
  // What ran long ahead would press the token flat: its own length is shown, less where nothing is under way.
  const shown = Math.max(-end, Math.min(0, ...spans.filter((span) => span[3] > -end).map((span) => span[2])));
  const low = Math.min(shown, ...prices.map((span) => span[2]));
  const early = spans.filter((span) => span[2] < low).length;
  const x = (v) => LEFT + (s.span * (v - low)) / (end - low);
  let y = top;
  const boxes = [];
  for (const row of rows) {
    if (row.title) { y += gap; put(s, row.title, LEFT, y - 6, p.ink, "left", BOLD); put(s, lengthWords(s, data[row.title], LEFT + 76), LEFT + 76, y - 6, p.soft); }
    put(s, row.lane, LEFT - 8, y + 15, p.ink, "right");
    c.fillStyle = p.track; c.fillRect(LEFT, y + 1, s.span, high - 3);
    for (const span of row.spans) {
      const from = Math.max(low, span[2]);
      const box = { x: x(from), y: y + 1, w: span[3] < low ? 0 : Math.max(1, x(span[3]) - x(from)), h: high - 3, span, from: row.title || row.lane };
      if (box.w === 0) boxes.push(box); // too early to be drawn; the keys read it all the same
      if (box.w === 0) continue;
      if (span[1] === "wait") hatch(c, box.x, box.y, box.w, box.h, p.wait);
      else { c.fillStyle = p[COLOURS[span[1]] || "resident"]; c.fillRect(box.x, box.y, Math.max(1, box.w - (box.w > 4 ? 1 : 0)), box.h); }
      boxes.push(box);
    }
    y += high;
  }
  for (const tick of ticks(low, end, 6)) put(s, number(tick), x(tick), y + 16, p.soft, "center");
  put(s, `ms of one token${early ? `; ${early} ${early === 1 ? "copy" : "copies"} began earlier` : ""}`, LEFT + s.span / 2, y + 32, p.soft, "center");
  if (selected !== null && boxes[selected]) { const b = boxes[selected]; c.strokeStyle = p.ink; c.lineWidth = 2; c.strokeRect(b.x - 1, b.y - 1, b.w + 2, b.h + 2); }
  return boxes;
}

function hatch(c, x, y, w, h, colour) {
  c.save(); c.beginPath(); c.rect(x, y, w, h); c.clip(); c.strokeStyle = colour; c.lineWidth = 1; c.beginPath();
  for (let k = -h; k < w; k += 5) { c.moveTo(x + k, y + h); c.lineTo(x + k + h, y); }
  c.stroke(); c.restore();
}

const spanWords = ([lane, kind, start, end, words]) => `${words}: ${{ wait: "waiting", pass: "price of the pass" }[kind] || kind} on ${lane.replace(/^copy /, "")}, ${number(start)} to ${number(end)} ms (${number(end - start)} ms)`;

// Puts a hover and keyboard reader on a timeline canvas; `read()` gives the data now drawn.
function timelineReader(node, note, read) {
  let boxes = [], chosen = null;
  const draw = () => { boxes = timeline(node, read(), chosen); };
  const choose = (k) => {
    if (k === chosen) return;
    chosen = k; draw();
    note.textContent = k === null ? "Point at a bar, or use the arrow keys, to read it." : spanWords(boxes[k].span);
  };
  node.tabIndex = 0; node.setAttribute("role", "img");
  node.onmousemove = (event) => {
    const at = node.getBoundingClientRect(), px = event.clientX - at.left, py = event.clientY - at.top;
    const k = boxes.findIndex((b) => px >= b.x && px <= b.x + b.w && py >= b.y && py <= b.y + b.h);
    choose(k < 0 ? null : k);
  };
  node.onmouseleave = () => choose(null);
  node.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); event.stopPropagation(); choose(((chosen === null ? -1 : chosen) + step + boxes.length) % boxes.length); }
  };
  choose(null); note.textContent = "Point at a bar, or use the arrow keys, to read it.";
  return draw;
}

async function replayTimeline(el, data) {
  const node = plot(el, "Copies and computes of one token, measured over predicted"), note = document.createElement("div");
  note.setAttribute("aria-live", "polite"); note.style.cssText = "min-height:1.5em;opacity:.85;padding-left:12px";
  el.append(note);
  const named = namedSpans(data);
  return timelineReader(node, note, () => named);
}
