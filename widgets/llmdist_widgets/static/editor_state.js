// The draft in the browser: options, locks, undo and redo, focus, selection, and what each key means.
// Pure functions without a document. The same rules as editor_draft.py, which confirms every step.

const HISTORY = 500;

/** Return a fresh state over opened tables. */
export function createState(t, choice, locked) {
  return { t, choice: choice.slice(), locked: new Set(locked), past: [], future: [],
    focus: { device: 0, block: 0 }, anchor: null, brush: "block", seq: 0 };
}

/** Return the option that fulfils `want` {execute, home, precision, mode} and differs least from the current; -1: none. */
export function optionOf(row, current, want) {
  let best = -1, bestScore = -1;
  for (let k = 0; k < row.count; k++) {
    const has = (what, value) => row[what === "mode" && value.includes(":") ? "variant" : what][k] === value;
    if (Object.entries(want).some(([what, value]) => value !== null && !has(what, value))) continue;
    const same = (what) => (row[what][k] === row[what][current] ? 1 : 0);
    const score = 8 * same("precision") + 4 * same("execute") + 2 * same("home") + same("variant");
    if (score > bestScore) { best = k; bestScore = score; }
  }
  return best;
}

/** Return what the brush asks of a block that is painted onto the row of `device`. */
export function wantOf(state, device, block) {
  const { t } = state, row = t.options[block];
  const execute = t.executors.indexOf(device);
  if (state.brush === "home") return { execute: row.execute[state.choice[block]], home: device };
  return execute >= 0 ? { execute, home: device } : { home: device };
}

/** Return {changes: Map block -> option, locked, impossible} of asking `want(block)` of blocks a..b. */
export function changesOf(state, blocks, want) {
  const changes = new Map();
  let locked = 0, impossible = 0;
  for (const block of blocks) {
    if (state.locked.has(block)) { locked += 1; continue; }
    const option = optionOf(state.t.options[block], state.choice[block], want(block));
    if (option < 0) impossible += 1;
    else changes.set(block, option);
  }
  return { changes, locked, impossible };
}

/** Return the blocks from a to b, both included, whichever is first. */
export const span = (a, b) =>
  Array.from({ length: Math.abs(b - a) + 1 }, (_, i) => Math.min(a, b) + i);

/** Return the selected blocks: from the anchor to the focus. */
export const selected = (state) =>
  span(state.anchor === null ? state.focus.block : state.anchor, state.focus.block);

/** Return what painting blocks a..b onto a device's row changes; nothing is committed. */
export function paint(state, device, a, b) {
  return changesOf(state, span(a, b), (block) => wantOf(state, device, block));
}

/** Return `choice` with `changes` in it. */
export function withChanges(choice, changes) {
  const next = choice.slice();
  changes.forEach((option, block) => { next[block] = option; });
  return next;
}

function step(state) {
  state.past = [...state.past, { choice: state.choice, locked: state.locked }].slice(-HISTORY);
  state.future = [];
}

/** Commit changes as one step; return the message for the kernel, or null when nothing changes. */
export function commit(state, changes) {
  const real = [...changes].filter(([block, option]) => state.choice[block] !== option && !state.locked.has(block));
  if (!real.length) return null;
  step(state);
  state.choice = withChanges(state.choice, new Map(real));
  return { do: "set", changes: real };
}

/** Lock the selection, or unlock it when all of it is locked. */
export function toggleLock(state, blocks) {
  const on = !blocks.every((block) => state.locked.has(block));
  step(state);
  const locked = new Set(state.locked);
  blocks.forEach((block) => (on ? locked.add(block) : locked.delete(block)));
  state.locked = locked;
  return { do: "lock", blocks, on };
}

/** Take a step back (or forward again); null when there is none. */
export function travel(state, name) {
  const [from, to] = name === "undo" ? [state.past, state.future] : [state.future, state.past];
  if (!from.length) return null;
  to.push({ choice: state.choice, locked: state.locked });
  ({ choice: state.choice, locked: state.locked } = from.pop());
  return { do: name };
}

/** Cycle the selection's precision (or variant: mode and share) to the one after the focused block's, where blocks have it. */
export function cycle(state, what) {
  const row = state.t.options[state.focus.block], now = state.choice[state.focus.block];
  const fixed = what === "precision" ? ["execute", "home"] : ["execute", "home", "precision"];
  const values = [];
  for (let k = 0; k < row.count; k++) {
    const fits = fixed.every((name) => row[name][k] === row[name][now]);
    if (fits && !values.includes(row[what][k])) values.push(row[what][k]);
  }
  const next = values[(values.indexOf(row[what][now]) + 1) % values.length];
  const found = changesOf(state, selected(state), (block) => {
    const r = state.t.options[block], k = state.choice[block];
    return { ...Object.fromEntries(fixed.map((name) => [name, r[name][k]])), [what]: next };
  });
  return { ...found, only: values.length < 2 ? row[what][now] : null, next };
}

const DEVICE_KEYS = { g: "cuda", c: "cpu", d: "disk" };

/** Return what a key means here: {action, ...}, or null when it is not ours. */
export function meaningOf(state, { key, shiftKey, ctrlKey, metaKey, altKey }) {
  if (altKey) return null;
  const letter = key.length === 1 ? key.toLowerCase() : key;
  if (ctrlKey || metaKey) {
    if (letter === "z") return { action: "travel", name: shiftKey ? "redo" : "undo" };
    return letter === "y" ? { action: "travel", name: "redo" } : null;
  }
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [0, -10],
    PageDown: [0, 10], Home: [0, -Infinity], End: [0, Infinity] };
  if (moves[key]) return { action: "focus", move: moves[key], extend: shiftKey };
  if (key === "Enter" || key === " ") return { action: "place", device: state.focus.device };
  if (DEVICE_KEYS[letter]) {
    const kind = DEVICE_KEYS[letter], devices = state.t.devices;
    const same = devices.map((d, i) => (d.kind === kind ? i : -1)).filter((i) => i >= 0);
    if (!same.length) return { action: "missing", kind };
    const at = same.indexOf(state.t.executors[state.t.options[state.focus.block].execute[state.choice[state.focus.block]]]);
    return { action: "place", device: same[(at + 1) % same.length] };
  }
  return { p: { action: "cycle", what: "precision" }, m: { action: "cycle", what: "variant" }, l: { action: "lock" },
    u: { action: "travel", name: shiftKey ? "redo" : "undo" }, h: { action: "brush" }, "?": { action: "help" },
    Escape: { action: "escape" } }[letter] || null;
}

/** Move the focus by [rows, blocks] within the grid; with `extend` the anchor stays. */
export function moveFocus(state, [rows, blocks], extend) {
  const clip = (value, most) => Math.max(0, Math.min(most, value));
  if (extend && state.anchor === null) state.anchor = state.focus.block;
  if (!extend) state.anchor = null;
  state.focus = { device: clip(state.focus.device + rows, state.t.devices.length - 1),
    block: clip(state.focus.block + blocks, state.choice.length - 1) };
}
