// The placement editor: joins draft, grid and panel to the pointer, the keys and the kernel.
// Every change shows at once and is sent; the kernel confirms with the number of the last change it has seen.
import { openTables, predict } from "./editor_cost.js";
import { changesOf, commit, createState, cycle, meaningOf, moveFocus, paint, selected, span, toggleLock, travel, wantOf, withChanges } from "./editor_state.js";
import { Grid } from "./editor_grid.js";
import { drawCompare, drawFigures, drawLegend, drawMemory, drawWhy, frame } from "./editor_panel.js";
import { rateText, spanText } from "./editor_words.js";

const WHY_DELAY = 250, BUSY_AFTER = 1000, SEARCH_SECONDS = 2;

class Editor {
  constructor(model, el) {
    this.model = model;
    this.root = document.createElement("div");
    this.root.className = "llp";
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    el.append(this.root);
    this.part = frame(this.root);
    this.grid = new Grid(this.part.grid);
    this.drag = null;
    this.whys = new Map();
    this.pointed = 0;
    this.noteSeen = 0;
    this.busySince = 0;
    this.open();
    this.listen();
    this.observer = new ResizeObserver(() => this.ask());
    this.observer.observe(this.root);
    this.timer = setInterval(() => this.showBusy(), 500);
  }

  /** Take up new tables: another problem begins with an empty history. */
  open() {
    const kernel = this.model.get("state");
    this.t = openTables(this.model.get("tables"));
    const before = this.state;
    this.state = createState(this.t, kernel.choice, kernel.locked);
    this.state.seq = before ? before.seq : kernel.ack;
    this.state.focus.device = this.t.executors[this.t.options[0].execute[kernel.choice[0]]];
    this.whys.clear();
    drawLegend(this.part, this.t);
    this.ask();
  }

  // ---- kernel ---------------------------------------------------------------------------------------

  send(message) {
    if (!message) return;
    if (["set", "lock", "undo", "redo"].includes(message.do)) {
      this.state.seq += 1;
      message.seq = this.state.seq;
      this.busySince = this.busySince || performance.now();
    }
    this.model.send({ ...message, version: this.t.version });
  }

  /** Adopt what the kernel confirmed, unless changes of ours are still on their way. */
  confirmed() {
    const kernel = this.model.get("state"), { state } = this;
    if (kernel.version !== this.t.version) return;
    if (kernel.ack >= state.seq) {
      this.busySince = 0;
      const locked = new Set(kernel.locked);
      const same = kernel.choice.every((k, b) => k === state.choice[b]) && locked.size === state.locked.size && kernel.locked.every((b) => state.locked.has(b));
      if (!same) {
        state.past.push({ choice: state.choice, locked: state.locked });
        state.choice = kernel.choice.slice();
        state.locked = locked;
        this.whys.clear();
      }
    }
    if (kernel.why.text && kernel.why.key === this.draftKey()) this.whys.set(kernel.why.block, kernel.why.text);
    if (kernel.note.number !== this.noteSeen) { this.noteSeen = kernel.note.number; this.say(kernel.note.text, kernel.note.failed); }
    this.ask();
  }

  draftKey() { return this.state.choice.join(); }

  showBusy() {
    const late = this.busySince && performance.now() - this.busySince > BUSY_AFTER;
    if (late) this.say("The kernel is busy: your changes are kept and reach it in order.", false);
  }

  say(text, failed) {
    this.part.note.textContent = this.part.live.textContent = text;
    this.part.note.classList.toggle("llp-bad", Boolean(failed));
  }

  // ---- drawing --------------------------------------------------------------------------------------

  ask() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    const width = this.root.clientWidth;
    if (!width) return;
    const { state, t, part } = this, kernel = this.model.get("state"), focusInside = part.grid.contains(this.root.getRootNode().activeElement);
    const fresh = this.grid.layout(t, width);
    const choice = this.drag ? withChanges(state.choice, this.drag.changes) : state.choice;
    const base = kernel.base, compare = kernel.compare, against = compare ? compare.choice : base;
    const started = performance.now(), p = predict(t, choice);
    this.lastPredictMs = performance.now() - started;
    const bytes = this.model.get("trail");
    const trail = part.trail.checked && bytes && bytes.byteLength >= t.blocks.length * t.width ? new Uint8Array(bytes.buffer || bytes, bytes.byteOffset || 0, bytes.byteLength) : null;
    this.grid.draw({ choice, locked: state.locked, trail, focus: state.focus, selection: new Set(selected(state)),
      moving: new Set(this.drag ? this.drag.changes.keys() : []),
      marks: new Set(against ? choice.map((k, b) => (k !== against[b] ? b : -1)).filter((b) => b >= 0) : []) });
    if (fresh && focusInside) this.grid.focus(state.focus);
    drawFigures(part, t, p, base ? predict(t, base) : null, this.model.get("measured"));
    drawMemory(part, t, p);
    drawWhy(part, t, choice, this.pointed, this.drag ? null : this.whys.get(this.pointed));
    const end = drawCompare(part, t, choice, p, compare);
    if (end) end.onclick = () => this.send({ do: "compare", end: true });
    this.drawButtons(kernel, base, choice, p);
    this.prediction = p;
  }

  drawButtons(kernel, base, choice, p) {
    const { buttons } = this.part, differs = !base || choice.some((k, b) => k !== base[b]), search = this.model.get("search");
    const able = (name, on) => buttons[name].setAttribute("aria-disabled", String(!on));
    able("undo", this.state.past.length || kernel.undo);
    able("redo", this.state.future.length || kernel.redo);
    able("apply", base && differs && p.fits);
    able("revert", differs);
    buttons.replan.textContent = kernel.searching ? `Stop the ants${search.best ? ` (${rateText(this.t.objective === "latency" ? 1 / search.best : search.best)}${this.t.objective === "latency" ? " tokens/s" : " s"})` : ""}` : "Re-plan around locks";
    buttons.lock.textContent = selected(this.state).every((b) => this.state.locked.has(b)) ? "Unlock" : "Lock";
    this.part.brush.forEach((input) => { input.checked = input.value === this.state.brush; });
    if (!base && !kernel.searching) this.part.note.textContent = "The session has a plan under other limits: revert to take it up.";
  }

  // ---- changes --------------------------------------------------------------------------------------

  changed(message, words) {
    if (message) this.whys.clear();
    this.send(message);
    if (words) this.say(words, false);
    this.ask();
  }

  /** Commit what a move found, and say it with the new figures. */
  commitFound({ changes, locked, impossible }, where) {
    const message = commit(this.state, changes), p = predict(this.t, this.state.choice);
    const stayed = [locked ? `${locked} locked` : "", impossible ? `${impossible} unable` : ""].filter(Boolean).join(" and ");
    const count = message ? message.changes.length : 0;
    const words = `${count ? `${spanText(this.t.blocks, message.changes.map(([b]) => b))}: ${where}` : "Nothing changed"}${stayed ? `, ${stayed} stayed` : ""}. `
      + `${rateText(p.tokensPerSecond)} tokens/s, ${p.fits ? "fits" : "OVER"}.`;
    this.changed(message, words);
  }

  place(device) {
    const blocks = selected(this.state), name = this.t.devices[device].name;
    this.commitFound(changesOf(this.state, blocks, (b) => wantOf(this.state, device, b)), this.state.brush === "home" ? `weights to ${name}` : `to ${name}`);
  }

  key(event) {
    const found = meaningOf(this.state, event);
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    ({
      focus: () => { moveFocus(this.state, found.move, found.extend); this.point(this.state.focus.block); this.draw(); this.grid.focus(this.state.focus); },
      place: () => this.place(found.device),
      missing: () => this.say(`This plan has no ${found.kind === "cuda" ? "GPU" : found.kind}.`, true),
      cycle: () => this.cycle(found.what),
      lock: () => this.lock(),
      travel: () => this.travel(found.name),
      brush: () => this.brush(this.state.brush === "block" ? "home" : "block"),
      help: () => this.help(this.part.help.hidden),
      escape: () => { this.drag = null; this.state.anchor = null; this.help(false); this.ask(); },
    })[found.action]();
  }

  cycle(what) {
    const found = cycle(this.state, what);
    if (found.only) this.say(`This plan allows only ${found.only} here.`, false);
    else this.commitFound(found, found.next);
  }

  lock() {
    const blocks = selected(this.state), message = toggleLock(this.state, blocks);
    this.changed(message, `${message.on ? "Locked" : "Unlocked"} ${spanText(this.t.blocks, blocks)}.`);
  }

  travel(name) {
    const message = travel(this.state, name), kernel = this.model.get("state");
    if (message || kernel[name]) this.changed(message || { do: name }, name === "undo" ? "Undone." : "Done again.");
    else this.say(`There is nothing to ${name}.`, false);
  }

  brush(value) {
    this.state.brush = value;
    this.say(value === "home" ? "A move changes only where weights rest." : "A move takes the whole block.", false);
    this.ask();
  }

  help(open) {
    this.part.help.hidden = !open;
    this.part.buttons.help.setAttribute("aria-expanded", String(open));
  }

  // ---- pointer --------------------------------------------------------------------------------------

  point(block) {
    this.pointed = block;
    clearTimeout(this.whyTimer);
    this.whyTimer = setTimeout(() => {
      if (!this.whys.has(block)) this.send({ do: "why", block, key: this.draftKey() });
    }, WHY_DELAY);
    this.ask();
  }

  down(event) {
    const cell = event.target.closest && event.target.closest(".llp-cell");
    if (!cell || event.button !== 0) return;
    event.preventDefault();
    this.state.focus = { device: cell.device, block: cell.block };
    this.state.anchor = null;
    this.grid.focus(this.state.focus);
    try { this.part.grid.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone already */ }
    this.drag = { device: cell.device, from: cell.block, to: cell.block, ...paint(this.state, cell.device, cell.block, cell.block) };
    this.point(cell.block);
  }

  move(event) {
    const cell = this.grid.at(event.clientX, event.clientY);
    if (!cell) return;
    if (this.drag && cell.block !== this.drag.to) {
      Object.assign(this.drag, { to: cell.block }, paint(this.state, this.drag.device, this.drag.from, cell.block));
      this.state.anchor = this.drag.from;
      this.state.focus = { device: this.drag.device, block: cell.block };
    }
    if (cell.block !== this.pointed) this.point(cell.block);
    this.ask();
  }

  up() {
    if (!this.drag) return;
    const { device, from, to } = this.drag, name = this.t.devices[device].name;
    this.drag = null;
    const found = changesOf(this.state, span(from, to), (b) => wantOf(this.state, device, b));
    this.commitFound(found, this.state.brush === "home" ? `weights to ${name}` : `to ${name}`);
  }

  // ---- wiring ---------------------------------------------------------------------------------------

  listen() {
    const { part, model } = this, { buttons } = part, on = (name, work) => {
      buttons[name].onclick = () => { if (buttons[name].getAttribute("aria-disabled") !== "true") work(); };
    };
    part.grid.addEventListener("keydown", (event) => this.key(event));
    part.grid.addEventListener("pointerdown", (event) => this.down(event));
    part.grid.addEventListener("pointermove", (event) => this.move(event));
    part.grid.addEventListener("pointerup", () => this.up());
    part.grid.addEventListener("pointercancel", () => { this.drag = null; this.ask(); });
    on("undo", () => this.travel("undo"));
    on("redo", () => this.travel("redo"));
    on("lock", () => this.lock());
    on("precision", () => this.cycle("precision"));
    on("replan", () => this.send(model.get("state").searching ? { do: "stop" } : { do: "replan", seconds: SEARCH_SECONDS }));
    ["apply", "revert"].forEach((name) => on(name, () => this.send({ do: name })));
    ["save", "load", "compare"].forEach((name) => on(name, () => this.send({ do: name, path: part.file.value })));
    on("help", () => this.help(part.help.hidden));
    part.trail.onchange = () => this.ask();
    part.brush.forEach((input) => { input.onchange = () => this.brush(input.value); });
    this.handlers = { "change:state": () => this.confirmed(), "change:tables": () => this.open(), "change:trail": () => this.ask(),
      "change:search": () => this.ask(), "change:measured": () => this.ask() };
    Object.entries(this.handlers).forEach(([name, work]) => model.on(name, work));
  }

  end() {
    Object.entries(this.handlers).forEach(([name, work]) => this.model.off(name, work));
    this.observer.disconnect();
    clearInterval(this.timer);
    clearTimeout(this.whyTimer);
  }
}

function render({ model, el }) {
  const editor = new Editor(model, el);
  el.placementEditor = editor;
  return () => editor.end();
}

export default { render };
