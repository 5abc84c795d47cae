// Bars: memory against caps, milliseconds per block.
function memoryBars(node, used, caps, words) {
  const names = Object.keys(used), s = surface(node, 34 + 27 * names.length), { c, p } = s, long = Math.max(40, s.span - 210);
  title(s, words);
  names.forEach((name, i) => {
    const y = 28 + 27 * i, cap = caps[name] || 0, whole = Math.max(cap, used[name], 1), over = cap && used[name] > cap;
    put(s, name, LEFT - 8, y + 14, p.ink, "right", BOLD);
    c.fillStyle = p.track; c.fillRect(LEFT, y, long, 19);
    c.fillStyle = over ? p.mark : p.ok; c.fillRect(LEFT, y, (long * used[name]) / whole, 19);
    if (cap) { c.fillStyle = p.ink; c.fillRect(LEFT + (long * cap) / whole - 1, y - 2, 2, 23); }
    put(s, bytes(used[name]) + (cap ? ` of ${bytes(cap)}` : "") + (over ? " OVER" : ""), LEFT + long + 10, y + 14, p.ink, "left", FONT, s.w - LEFT - long - 10);
  });
}

// Milliseconds per block, compute beside copy.
function blockBars(node, blocks, compute, copy, words) {
  const sum = (list) => number(list.reduce((a, b) => a + b, 0));
  const key = arranged(node, [square("resident", `compute, ${sum(compute)} ms in all`), square("streamed", `copy, ${sum(copy)} ms, while others compute`)]);
  const s = surface(node, 210 + key.more), { c, p } = s, top = 48 + key.more, under = 172 + key.more, wide = s.span / blocks.length;
  const high = Math.max(1e-6, ...compute, ...copy) * 1.05;
  title(s, words);
  legend(s, key);
  for (const tick of ticks(0, high)) {
    const y = under - ((under - top) * tick) / high;
    c.strokeStyle = p.grid; c.beginPath(); c.moveTo(LEFT, y); c.lineTo(s.w - RIGHT, y); c.stroke(); put(s, number(tick), LEFT - 8, y + 4, p.soft, "right");
  }
  put(s, "ms", LEFT - 8, top - 10, p.soft, "right");
  [[compute, p.resident, 0.06], [copy, p.streamed, 0.5]].forEach(([list, colour, shift]) => list.forEach((v, i) => {
    c.fillStyle = colour; const h = ((under - top) * v) / high; c.fillRect(LEFT + wide * (i + shift), under - h, 0.44 * wide, h);
  }));
  blockAxis(s, blocks, under);
}
