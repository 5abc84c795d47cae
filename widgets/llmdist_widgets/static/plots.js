// Curves and heat maps.
// Lines over a common x. series: [{ values, colour, label, dash }] where colour is a key of the palette.
function lines(node, { title: words, unit, xs, xWord, series, levels = [], marker = null, zero = false, height = 190, lowHigh = null }) {
  const s = surface(node, height), { c, p } = s, top = 40, under = height - 34, right = s.w - 150;
  title(s, words);
  const all = series.flatMap((one) => one.values).concat(levels.map((one) => one.value)).filter(Number.isFinite).sort((a, b) => a - b);
  if (!all.length || !xs.length) { put(s, "Nothing was recorded yet.", LEFT, height / 2, p.soft); return; }
  let high = all[Math.floor(0.98 * (all.length - 1))], low = zero ? 0 : all[0];
  for (const one of levels) high = Math.max(high, one.value);
  if (lowHigh) [low, high] = lowHigh; else { const room = 0.08 * (high - low || high || 1); high += room; if (!zero) low -= room; }
  const first = xs[0], last = Math.max(xs[xs.length - 1], first + 1);
  const x = (v) => LEFT + ((right - LEFT) * (v - first)) / (last - first);
  const y = (v) => under - ((under - top) * (Math.min(Math.max(v, low), high) - low)) / (high - low || 1);
  for (const tick of ticks(low, high, height < 150 ? 2 : 4)) {
    c.strokeStyle = p.grid; c.beginPath(); c.moveTo(LEFT, y(tick)); c.lineTo(right, y(tick)); c.stroke();
    put(s, number(tick), LEFT - 8, y(tick) + 4, p.soft, "right");
  }
  put(s, unit, LEFT - 8, top - 12, p.soft, "right");
  for (const tick of ticks(first, last, 6)) if (Number.isInteger(tick) && x(tick) < right - 14) put(s, String(tick), x(tick), under + 17, p.soft, "center");
  put(s, xWord, (LEFT + right) / 2, under + 32, p.soft, "center");
  const labels = [];
  const stroke = (one, draw, at) => {
    c.strokeStyle = p[one.colour]; c.lineWidth = 2; c.setLineDash(one.dash || []); c.beginPath(); draw(); c.stroke(); c.setLineDash([]);
    labels.push({ at, words: one.label, colour: p[one.colour] });
  };
  for (const one of levels) stroke({ dash: [7, 4], ...one }, () => { c.moveTo(LEFT, y(one.value)); c.lineTo(right, y(one.value)); }, y(one.value));
  for (const one of series) {
    let pen = false;
    stroke(one, () => one.values.forEach((v, i) => {
      if (!Number.isFinite(v)) { pen = false; return; }
      if (pen) c.lineTo(x(xs[i]), y(v)); else c.moveTo(x(xs[i]), y(v));
      pen = true;
    }), y(one.values[one.values.length - 1]));
  }
  let below = -99;
  for (const one of labels.sort((a, b) => a.at - b.at)) { below = Math.max(one.at + 4, below + 17); put(s, one.words, right + 8, below, one.colour, "left", BOLD); }
  if (marker !== null) { c.strokeStyle = p.ink; c.lineWidth = 1; c.beginPath(); c.moveTo(x(marker), top - 4); c.lineTo(x(marker), under); c.stroke(); }
}

const bestMark = ({ c, p }, x, y) => { c.strokeStyle = p.mark; c.lineWidth = 2.5; c.strokeRect(x + 1.5, y + 1, 13, 10); };
const scaleMark = (s, x, y) => {
  put(s, "0", x, y + 11, s.p.soft);
  for (let i = 0; i < 20; i++) { s.c.fillStyle = cividis(i / 19); s.c.fillRect(x + 14 + i * 5, y, 5.5, 12); }
};

// Trail as a heat map; rows are option labels, columns blocks. trail: bytes 0..255, `width` a block; choice: an index a block.
function heat(node, { blocks, options, width }, { trail, choice, iteration, entropy }) {
  const named = options.map((labels) => labels.map((label) => label.replace(/ split:\d$/, " split"))); // its shares are one row
  const rows = [...new Set(named.flat())], high = rows.length <= 9 ? 20 : 15;
  const key = arranged(node, [[16, "best placement so far", bestMark], [114, "1 (scaled per block)", scaleMark]]), top = 46 + key.more;
  const s = surface(node, top + high * rows.length + 38), { c, p } = s, wide = s.span / blocks.length;
  title(s, `Pheromone, iteration ${iteration}` + (entropy === undefined ? "" : `, entropy ${entropy.toFixed(2)}`));
  legend(s, key);
  c.fillStyle = p.track; c.fillRect(LEFT, top, s.span, high * rows.length);
  rows.forEach((label, r) => put(s, label, LEFT - 8, top + high * r + high / 2 + 4, p.ink, "right", FONT, LEFT - 10));
  const at = named.map((labels) => labels.map((label) => rows.indexOf(label)));
  at.forEach((where, i) => {
    const strongest = new Map();
    where.forEach((r, k) => strongest.set(r, Math.max(strongest.get(r) || 0, trail[i * width + k])));
    strongest.forEach((value, r) => { c.fillStyle = cividis(value / 255); c.fillRect(LEFT + wide * i, top + high * r, wide + 0.4, high); });
  });
  const line = wide < 8 ? 1.5 : 2.5;
  c.strokeStyle = p.mark; c.lineWidth = line;
  for (let i = 0, j; i < blocks.length; i = j) {
    const row = at[i][choice[i]];
    for (j = i + 1; j < blocks.length && at[j][choice[j]] === row; j++);
    c.strokeRect(LEFT + wide * i + line / 2, top + high * row + line / 2, wide * (j - i) - line, high - line);
  }
  blockAxis(s, blocks, top + high * rows.length);
}
