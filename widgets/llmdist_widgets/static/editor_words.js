// Numbers with units and sentences, as a person reads them and a screen reader says them.

export function bytesText(n) {
  if (!Number.isFinite(n)) return "no limit";
  let value = n, unit = "B";
  for (const next of ["KiB", "MiB", "GiB"]) { if (Math.abs(value) < 1000) break; value /= 1024; unit = next; }
  return `${unit === "B" ? Math.round(value) : Math.abs(value) < 1000 ? +value.toPrecision(3) : Math.round(value)} ${unit}`;
}

export function secondsText(s) {
  if (!Number.isFinite(s)) return "never";
  if (s >= 1) return `${s.toFixed(2)} s`;
  if (s >= 1e-3) return `${(s * 1e3).toPrecision(3)} ms`;
  return `${(s * 1e6).toFixed(0)} µs`;
}

// As `format_speed` of llmdist.units.
export const rateText = (v) => (Number.isFinite(v) && v > 0 ? (v >= 100 ? v.toFixed(0) : v.toPrecision(3)) : "0");

/** Return how good prediction `p` is against the bound: a value and a note; `gap_words` of planning.py says the same. */
export function gapFigure(p, bound) {
  if (!Number.isFinite(p.objective)) return ["impossible", "no path for activations"];
  if (p.objective < bound * (1 - 1e-6)) return ["beyond", p.fits ? "faster than the locks of the plan allow" : "faster than all that fit"];
  if (p.gap < 1e-4) return p.fits ? ["none", "proven optimal"] : ["none", "as fast as the bound"];
  return Number.isFinite(p.gap) ? [`${(100 * p.gap).toFixed(p.gap < 0.1 ? 1 : 0)} %`, "at most, from the best possible"] : ["unknown", "no bound is known"];
}

/** Return "layers.3.mlp" or "5 blocks, layers.3.mlp to head". */
export function spanText(names, blocks) {
  return blocks.length === 1 ? names[blocks[0]] : `${blocks.length} blocks, ${names[blocks[0]]} to ${names[blocks.at(-1)]}`;
}

/** Return who computes how much of a split block, and from where the GPU's part is copied. */
function partsText(t, row, option) {
  const execute = t.executors[row.execute[option]], part = row.eighths[option], host = t.devices[t.hosts[execute]];
  const copied = row.home[option] === execute ? "" : ` (copied from ${t.devices[row.home[option]].name})`;
  return `${t.devices[execute].name} computes ${8 - part}/8${copied}, ${host.name} ${part}/8`;
}

/** Return where a block is, in words. */
export function choiceText(t, block, option) {
  const row = t.options[block], execute = t.devices[t.executors[row.execute[option]]].name;
  if (row.eighths[option]) return `split: ${partsText(t, row, option)}, ${row.precision[option]}`;
  const rests = row.mode[option] === "resident" ? "resident there" : `${row.variant[option]} from ${t.devices[row.home[option]].name}`;
  return `computed on ${execute}, ${rests}, ${row.precision[option]}`;
}

/** Return what a cell of the grid says to a screen reader. */
export function cellText(t, block, device, option, locked) {
  const row = t.options[block], execute = t.executors[row.execute[option]], computes = execute === device, rests = row.home[option] === device;
  if (row.eighths[option] && (computes || t.hosts[execute] === device)) {
    return `${t.blocks[block]} on ${t.devices[device].name}: split, ${partsText(t, row, option)}, ${row.precision[option]}${locked ? ", locked" : ""}`;
  }
  const what = computes && rests ? "rests and computes here" : computes ? `computes here, ${row.mode[option]} from ${t.devices[row.home[option]].name}`
    : rests ? "home, weights rest here" : "empty";
  const how = computes ? `, ${row.precision[option]} ${row.mode[option]}` : rests ? `, ${row.precision[option]}` : "";
  return `${t.blocks[block]} on ${t.devices[device].name}: ${what}${how}${locked ? ", locked" : ""}`;
}

/** Return the change of seconds per token in words. */
export function changeText(seconds) {
  if (Math.abs(seconds) < 5e-7) return "no change of speed";
  if (!Number.isFinite(seconds)) return "impossible, no path for activations";
  return `${secondsText(Math.abs(seconds))} ${seconds > 0 ? "more" : "less"} per token`;
}

export const HELP = [
  ["Click or drag along a row", "move a block or a range of blocks to that device"],
  ["Arrows, Home, End, Page Up, Page Down", "move the focus"],
  ["Shift and arrows", "select a range"],
  ["G, C, D", "move the selection to the GPU, the CPU, the disk; again: the next GPU"],
  ["Enter or Space", "move the selection to the focused row"],
  ["H", "what moves: whole blocks, or only where the weights rest"],
  ["P, M", "next precision, next mode of the selection"],
  ["L", "lock or unlock: neither hand nor ants move a locked block"],
  ["U, Shift U", "undo, redo"],
  ["Escape", "give up a drag, a selection or this help"],
];

const CIVIDIS = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115],
  [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];

/** Return the cividis colour of a byte. */
export const cividis = Array.from({ length: 256 }, (_, v) => {
  const p = Math.min((v / 255) * 9, 8.9999), i = Math.floor(p), f = p - i;
  return `rgb(${CIVIDIS[i].map((c, k) => Math.round(c + (CIVIDIS[i + 1][k] - c) * f)).join(",")})`;
});

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
}
