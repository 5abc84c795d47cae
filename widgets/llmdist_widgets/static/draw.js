// Drawing on canvas, shared by the live views and the replay in saved pages: data in, pixels out, no state.
const LEFT = 136, RIGHT = 16, FONT = "13px system-ui, 'Segoe UI', Roboto, sans-serif", BOLD = "600 " + FONT;
const STOPS = [[0,34,78],[18,53,112],[59,73,108],[87,93,109],[112,113,115],[138,134,120],[165,156,116],[195,179,105],[225,204,85],[254,232,56]];
const cividis = (v) => {
  const p = Math.min(0.99999, Math.max(0, v)) * (STOPS.length - 1), i = Math.floor(p);
  return `rgb(${STOPS[i].map((c, k) => Math.round(c + (STOPS[i + 1][k] - c) * (p - i)))})`;
};
const LIGHT = { soft: "#57606a", grid: "#d8dee4", track: "#eaeef2", best: "#0063A0", mean: "#8a929b", bound: "#A83E08",
  ok: "#009E73", mark: "#D55E00", resident: "#0072B2", streamed: "#E69F00", onResident: "#ffffff", wait: "#8a929b", pass: "#009E73" };
const DARK = { soft: "#a5afba", grid: "#3a424c", track: "#2d333b", best: "#56B4E9", mean: "#a5afba", bound: "#F0904A",
  ok: "#2BB58B", mark: "#F0904A", resident: "#3D9BD9", streamed: "#E69F00", onResident: "#0d1117", wait: "#a5afba", pass: "#2BB58B" };

const widthOf = (node) => Math.max(320, node.clientWidth || 900);

function surface(node, height) {
  const w = widthOf(node), ratio = Math.max(1, window.devicePixelRatio || 1);
  if (node.width !== Math.round(w * ratio) || node.height !== Math.round(height * ratio)) {
    node.width = Math.round(w * ratio); node.height = Math.round(height * ratio); node.style.height = `${height}px`;
  }
  const c = node.getContext("2d"), ink = getComputedStyle(node).color;
  const [r, g, b] = (ink.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, height);
  c.font = FONT; c.textAlign = "left"; c.setLineDash([]); c.lineWidth = 1;
  return { c, w, span: w - LEFT - RIGHT, p: { ink, ...(r + g + b > 384 ? DARK : LIGHT) } };
}
function put(s, words, x, y, colour, align = "left", font = FONT, room = undefined) {
  s.c.font = font; s.c.textAlign = align; s.c.fillStyle = colour || s.p.ink; s.c.fillText(words, x, y, room);
}
const title = (s, words) => put(s, words, 12, 16, s.p.ink, "left", BOLD, s.w - 24); // narrower where it would be cut
// Where the entries of a legend stand, in rows that wrap where the picture ends; an entry is [width of its mark, words,
// mark(s, x, y)]. `more` is the height of the rows after the first.
function arranged(node, entries) {
  const c = node.getContext("2d"), w = widthOf(node), left = w < 500 ? 12 : LEFT, right = w - RIGHT;
  let x = left, y = 25;
  c.font = FONT;
  const places = entries.map(([wide, words, mark]) => {
    const long = wide + 6 + c.measureText(words).width;
    if (x > left && x + long > right) { x = left; y += 18; }
    const place = { x, y, wide, words, mark, room: right - x - wide - 6 };
    x += long + 20;
    return place;
  });
  return { places, more: y - 25 };
}
function legend(s, { places }) {
  for (const { x, y, wide, words, mark, room } of places) { mark(s, x, y); put(s, words, x + wide + 6, y + 11, s.p.soft, "left", FONT, room); }
}
// A legend's entry whose mark is a filled square; `kind` is a key of the palette.
const square = (kind, words) => [12, words, ({ c, p }, x, y) => { c.fillStyle = p[kind]; c.fillRect(x, y, 12, 12); }];
const three = (v) => (v === 0 ? "0" : Number(v.toPrecision(3)).toString());
const number = (v) => (Math.abs(v) >= 1000 ? Math.round(v).toString() : three(v));
function bytes(v) {
  if (v < 1024) return `${Math.round(v)} B`;
  let unit = "KiB"; v /= 1024;
  for (const next of ["MiB", "GiB"]) if (v >= 1024) { v /= 1024; unit = next; }
  return `${number(v)} ${unit}`;
}
function ticks(low, high, count = 4) {
  const raw = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(10)));
  return found;
}

function blockAxis(s, blocks, y) {
  const wide = s.span / blocks.length;
  const words = blocks.map((name, i) => [i, name.split(".")[0] === "layers" ? name.split(".")[1] : name])
    .filter(([, word], k, list) => !k || list[k - 1][1] !== word);
  const layers = words.filter(([, word]) => /^\d/.test(word)), stride = Math.max(1, Math.ceil((38 * layers.length) / s.span));
  const shown = [...words.filter(([, word]) => !/^\d/.test(word)), ...layers.filter((_, k) => k % stride === 0)], taken = [];
  for (const [i, word] of shown) {
    const half = 4 * word.length + 5, x = Math.min(LEFT + wide * (i + 0.5), s.w - half);
    if (taken.some(([a, b]) => x - half < b && x + half > a)) continue;
    taken.push([x - half, x + half]); put(s, word, x, y + 15, s.p.soft, "center");
  }
  put(s, `${blocks.length} blocks, numbers are layers`, LEFT + s.span / 2, y + 31, s.p.soft, "center");
}
