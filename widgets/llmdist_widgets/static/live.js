// Draws the state that Python sends, once per animation frame; the latest state wins.
const stops = [[0,34,78],[59,73,108],[112,113,115],[165,156,116],[225,204,85],[254,232,56]];
const colour = (v) => {
  const p = Math.min(0.9999, Math.max(0, v)) * 5, i = Math.floor(p), f = p - i;
  return `rgb(${stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * f))})`;
};

function canvas(el, height) {
  const node = document.createElement("canvas");
  node.width = 1800; node.height = height * 2;
  node.style.cssText = "width:100%;max-width:900px;display:block;margin:4px 0";
  el.append(node);
  return node;
}

function pen(node) {
  const c = node.getContext("2d");
  c.setTransform(2, 0, 0, 2, 0, 0);
  c.clearRect(0, 0, 900, node.height / 2);
  c.font = "13px system-ui, sans-serif";
  c.fillStyle = c.strokeStyle = getComputedStyle(node).color;
  return c;
}

function curve(node, values, level, unit, words) {
  const c = pen(node), h = node.height / 2, ink = c.fillStyle;
  const finite = values.filter(Number.isFinite);
  if (!finite.length) return;
  const high = 1.05 * Math.max(...finite, level), low = unit === "ms" ? 0.97 * Math.min(...finite, level || Infinity) : 0;
  const y = (v) => h - 8 - ((h - 30) * (v - low)) / (high - low || 1);
  c.fillText(`${words}: ${finite.at(-1).toPrecision(4)} ${unit}`, 150, 14);
  c.textAlign = "right";
  c.fillText(high.toPrecision(3), 140, y(high) + 8); c.fillText(low.toPrecision(3), 140, y(low));
  c.lineWidth = 2; c.strokeStyle = "#0072B2"; c.beginPath();
  finite.forEach((v, i) => c.lineTo(150 + (730 * i) / Math.max(1, finite.length - 1), y(v)));
  c.stroke();
  if (level > 0) {
    c.strokeStyle = "#D55E00"; c.setLineDash([7, 4]); c.beginPath();
    c.moveTo(150, y(level)); c.lineTo(880, y(level)); c.stroke(); c.setLineDash([]);
    c.fillStyle = ink;
    c.fillText(`${unit === "ms" ? "bound" : "predicted"} ${level.toPrecision(4)} ${unit} (dashed)`, 880, 14);
  }
  c.textAlign = "left";
}

function heat(node, s) {
  const rows = [...new Set(s.options.flat())], n = s.options.length, w = 730 / n;
  if (node.height !== 2 * (18 * rows.length + 26)) node.height = 2 * (18 * rows.length + 26);
  const c = pen(node);
  c.fillText(`Pheromone, iteration ${s.iteration}; outlined: best placement so far; ${n} blocks`, 150, 14);
  c.textAlign = "right";
  rows.forEach((label, r) => c.fillText(label, 142, 22 + 18 * r + 13));
  c.textAlign = "left";
  s.options.forEach((options, i) => options.forEach((label, k) => {
    const r = rows.indexOf(label);
    c.fillStyle = colour(s.trail[i][k] / 255);
    c.fillRect(150 + w * i, 22 + 18 * r, w + 0.3, 18);
  }));
  c.strokeStyle = "#D55E00"; c.lineWidth = 2;
  s.choice.forEach((k, i) => c.strokeRect(150 + w * i + 1, 23 + 18 * rows.indexOf(s.options[i][k]), Math.max(1, w - 2), 16));
}

function memory(node, s) {
  const c = pen(node), ink = c.fillStyle, gib = (b) => `${(b / 2 ** 30).toFixed(2)} GiB`;
  Object.entries(s.memory).forEach(([name, used], i) => {
    const cap = s.caps[name] || used || 1, over = used > cap;
    c.textAlign = "right"; c.fillStyle = ink; c.fillText(name, 142, 20 + 26 * i);
    c.textAlign = "left"; c.fillText(`${gib(used)} of ${gib(cap)}${over ? " OVER" : ""}`, 660, 20 + 26 * i);
    c.strokeStyle = ink; c.lineWidth = 1; c.strokeRect(150, 6 + 26 * i, 500, 18);
    c.fillStyle = over ? "#D55E00" : "#009E73"; c.fillRect(150, 6 + 26 * i, 500 * Math.min(1, used / cap), 18);
  });
}

function render({ model, el }) {
  el.style.color = "var(--jp-content-font-color1, inherit)";
  const button = document.createElement("button");
  button.textContent = "Stop"; button.hidden = true;
  button.setAttribute("aria-label", "Stop generating");
  button.onclick = () => { model.send("stop"); button.textContent = "Stopping"; button.disabled = true; };
  const words = document.createElement("div");
  words.style.cssText = "white-space:pre-wrap;overflow-wrap:anywhere;border-left:4px solid #0072B2;padding:4px 12px";
  words.hidden = true;
  el.append(button, words);
  const first = canvas(el, 110), second = canvas(el, 110);
  let pending = false;
  const draw = () => {
    pending = false;
    const s = model.get("state");
    if (s.phase === "plan") { heat(first, s); curve(second, s.best, s.bound, "ms", "Best so far"); }
    if (s.phase === "generate") {
      button.hidden = words.hidden = false;
      words.textContent = s.text;
      curve(first, s.speeds, s.predicted, "tokens/s", "Speed");
      memory(second, s);
    }
  };
  const ask = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };
  model.on("change:state", ask);
  ask();
  return () => model.off("change:state", ask);
}

export default { render };
