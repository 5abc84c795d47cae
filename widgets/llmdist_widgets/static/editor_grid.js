// The grid: a row per device, a column per block, wrapped into bands where the columns would be too narrow to read.
// Cells are elements, so that keyboard, screen reader and print see them; only cells that changed are touched.
import { cellText, cividis, make } from "./editor_words.js";

const HEAD = 92, NARROWEST = 15, WIDE = 60, MIDDLE = 34;
const KINDS = { attention: "attn" };
const SHORT = { bf16: "16", fp16: "16", fp32: "32", int8: "8", int4: "4" };

export class Grid {
  constructor(root) {
    this.root = root;
    this.columns = 0;
  }

  /** Lay out bands for `width` pixels; true when the cells are new. */
  layout(t, width) {
    const n = t.blocks.length, bands = Math.max(1, Math.ceil((n * NARROWEST) / Math.max(200, width - HEAD)));
    const starts = this.starts(t, bands), columns = Math.max(...starts.slice(1).map((end, i) => end - starts[i]));
    const room = (width - HEAD) / columns;
    const size = room >= WIDE ? "wide" : room >= MIDDLE ? "middle" : "narrow";
    if (t === this.t && columns === this.columns && size === this.size) return false;
    Object.assign(this, { t, columns, size, cells: [], heads: [] });
    this.root.className = `llp-grid llp-${size}`;
    this.root.style.setProperty("--llp-columns", columns);
    this.root.setAttribute("aria-colcount", n + 1);
    this.root.setAttribute("aria-rowcount", (starts.length - 1) * (t.devices.length + 1));
    this.root.replaceChildren(...starts.slice(0, -1).map((first, band) => this.band(band, first, starts[band + 1])));
    return true;
  }

  /** Return where `bands` bands of about equal length begin, and the end: a layer is not torn apart. */
  starts(t, bands) {
    const layer = (b) => t.blocks[b].split(".").slice(0, 2).join("."), n = t.blocks.length, found = [0];
    for (let band = 1; band < bands; band++) {
      let b = Math.round((band * n) / bands);
      while (b > found.at(-1) + 1 && layer(b) === layer(b - 1) && t.blocks[b].startsWith("layers.")) b -= 1;
      found.push(b);
    }
    return [...found, n];
  }

  band(band, first, last) {
    const { t } = this;
    const group = make("div", { role: "rowgroup", class: "llp-band" });
    const head = make("div", { role: "row", class: "llp-row llp-heads", "aria-rowindex": band * (t.devices.length + 1) + 1 });
    head.append(make("div", { role: "columnheader", class: "llp-corner", "aria-colindex": 1, "aria-label": "device" }));
    for (let b = first; b < last; b++) head.append(this.head(b, first));
    group.append(head);
    t.devices.forEach((device, d) => {
      const row = make("div", { role: "row", class: "llp-row", "aria-rowindex": band * (t.devices.length + 1) + d + 2 });
      row.append(make("div", { role: "rowheader", class: "llp-device", "aria-colindex": 1 }, device.name));
      for (let b = first; b < last; b++) row.append(this.cell(d, b));
      group.append(row);
    });
    return group;
  }

  head(b, first) {
    const parts = this.t.blocks[b].split("."), before = b > first ? this.t.blocks[b - 1].split(".") : [];
    const layer = parts[0] === "layers" ? parts[1] : "", kind = layer ? parts.slice(2).join(".") : parts[0];
    const shown = layer && before[1] !== layer ? layer : "";
    const word = this.size === "narrow" ? (kind[0] || "").toUpperCase() : (KINDS[kind] || kind).slice(0, this.size === "wide" ? 8 : 5);
    const node = make("div", { role: "columnheader", class: `llp-head${shown || !layer ? " llp-first" : ""}`, "aria-colindex": b + 2,
      "aria-label": this.t.blocks[b], title: this.t.blocks[b] },
      ...[["layer", shown], ["kind", word], ["mark", ""]].map(([name, text]) => make("span", { class: `llp-${name}`, "aria-hidden": "true" }, text)));
    return (this.heads[b] = node);
  }

  cell(d, b) {
    const node = make("div", { role: "gridcell", class: "llp-cell", tabindex: "-1", "aria-colindex": b + 2 }, make("i", { "aria-hidden": "true" }));
    Object.assign(node, { device: d, block: b, shown: "", tone: -1 });
    (this.cells[d] ||= [])[b] = node;
    return node;
  }

  /** Show a view: choice, locked, marks (blocks that differ), trail bytes or null, focus, blocks under selection and drag. */
  draw(view) {
    const { t } = this;
    for (let b = 0; b < t.blocks.length; b++) {
      const option = view.choice[b], row = t.options[b], locked = view.locked.has(b);
      const execute = t.executors[row.execute[option]], home = row.home[option], shares = row.eighths[option] ? t.hosts[execute] : null;
      this.heads[b].className = this.heads[b].className.replace(/ llp-(locked|differs)/g, "")
        + (locked ? " llp-locked" : "") + (view.marks.has(b) ? " llp-differs" : "");
      const tones = view.trail ? this.tones(view.trail, b, row) : null;
      for (let d = 0; d < t.devices.length; d++) {
        const cell = this.cells[d][b];
        const what = execute === d ? (home === d ? "both" : "exec") : shares === d ? "part" : home === d ? "home" : "none";
        const focused = view.focus.device === d && view.focus.block === b;
        const flags = `${locked && what !== "none" ? " llp-locked" : ""}${focused ? " llp-focus" : ""}`
          + `${view.selection.has(b) && view.focus.device === d ? " llp-selected" : ""}${view.moving.has(b) && what !== "none" ? " llp-moving" : ""}`;
        const kind = what === "none" ? "" : ` llp-${what} llp-${row.mode[option]} llp-p${SHORT[row.precision[option]] || 16}`;
        this.show(cell, `llp-cell${kind}${flags}`, what === "none" ? "" : row.precision[option], row.variant[option],
          { t, b, d, option, locked, focused, selected: view.selection.has(b) && view.focus.device === d, eighths: row.eighths[option] });
        this.paintTone(cell, tones ? tones[d] : -1);
      }
    }
  }

  /** Return per device the strongest trail of the options that compute there (a disk: that rest there). */
  tones(trail, b, row) {
    const found = this.t.devices.map(() => 0), at = b * this.t.width;
    for (let k = 0; k < row.count; k++) {
      const value = trail[at + k], execute = this.t.executors[row.execute[k]], home = row.home[k];
      found[execute] = Math.max(found[execute], value);
      if (!this.t.devices[home].executes) found[home] = Math.max(found[home], value);
    }
    return found;
  }

  show(cell, name, precision, mode, at) {
    const key = `${name}|${precision}|${at.eighths}`;
    if (cell.shown === key) return;
    cell.shown = key;
    cell.className = name;
    const exec = name.includes("llp-both") || name.includes("llp-exec"), part = name.includes("llp-part");
    cell.firstChild.style.height = part ? `${Math.max(16, Math.round((78 * at.eighths) / 8))}%` : "";
    const short = this.size === "narrow" ? SHORT[precision] || "" : precision;
    cell.firstChild.textContent = !precision ? "" : part ? (this.size === "narrow" || at.eighths < 4 ? "" : `${at.eighths}/8`) : exec ? short + (this.size === "wide" ? `\n${mode}` : "")
      : this.size === "narrow" ? "" : "home";
    cell.setAttribute("aria-label", cellText(at.t, at.b, at.d, at.option, at.locked));
    cell.setAttribute("aria-selected", String(Boolean(at.selected)));
    cell.tabIndex = at.focused ? 0 : -1;
  }

  paintTone(cell, tone) {
    if (cell.tone === tone) return;
    cell.tone = tone;
    cell.style.backgroundColor = tone < 0 ? "" : cividis[tone];
  }

  /** Return the cell at a point of the screen, or null. */
  at(x, y) {
    const found = (this.root.getRootNode().elementFromPoint || document.elementFromPoint).call(this.root.getRootNode(), x, y);
    return found && found.closest(".llp-cell");
  }

  focus({ device, block }) {
    this.cells[device][block].focus({ preventScroll: true });
  }
}
