// Around the grid: the figures that change under the finger, memory bars, buttons, why, comparison, help.
import { alternatives, predict } from "./editor_cost.js";
import { bytesText, changeText, choiceText, gapFigure, HELP, make, rateText, secondsText } from "./editor_words.js";

/** Build the frame once; return its parts by name. */
export function frame(root) {
  const part = { buttons: {} };
  const button = (name, label, title, kind = "") => (part.buttons[name] = make("button", { type: "button", class: kind, title }, label));
  const brush = make("fieldset", { class: "llp-brush" }, make("legend", { class: "llp-hidden" }, "What a click moves"));
  part.brush = ["block", "home"].map((value, i) => {
    const input = make("input", { type: "radio", value, name: `llp-brush-${Math.random()}` });
    brush.append(make("label", { title: i ? "Only where the weights rest moves" : "Weights and computing move" }, input, i ? "Weights only" : "Whole block"));
    return input;
  });
  part.brush[1].name = part.brush[0].name;
  part.trail = make("input", { type: "checkbox", checked: "" });
  part.file = make("input", { type: "text", class: "llp-file", "aria-label": "Plan file on the kernel's machine", placeholder: "plan file, such as my-plan.json", spellcheck: "false" });
  part.figures = make("div", { class: "llp-figures" });
  part.grid = make("div", { role: "grid", "aria-label": "Placement: devices are rows, blocks are columns", "aria-multiselectable": "true" });
  part.legend = make("div", { class: "llp-legend" });
  part.memory = make("div", { class: "llp-memory" });
  part.why = make("div", { class: "llp-why" });
  part.compare = make("div", { class: "llp-compare" });
  part.note = make("div", { class: "llp-note" });
  part.live = make("div", { class: "llp-hidden", role: "status", "aria-live": "polite" });
  part.help = make("section", { class: "llp-help", hidden: "", "aria-label": "Keys" }, make("dl", {}, ...HELP.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)])));
  root.replaceChildren(
    part.figures,
    make("div", { class: "llp-bar", role: "toolbar", "aria-label": "Change the placement" },
      button("undo", "Undo", "U"), button("redo", "Redo", "Shift U"), brush, button("lock", "Lock", "L: lock or unlock the selection"),
      button("precision", "Precision", "P: next precision of the selection"), make("span", { class: "llp-gap" }),
      button("replan", "Re-plan around locks", "Send the ants; locked blocks stay"), button("revert", "Revert", "Back to the plan in force"),
      button("apply", "Apply", "Put this placement in force", "llp-primary"), button("help", "?", "Keys and help")),
    part.help, part.note, part.grid, part.legend, part.memory, part.why, part.compare,
    make("div", { class: "llp-bar", role: "toolbar", "aria-label": "Files and comparison" }, part.file,
      button("save", "Save", "Write the draft to the file"), button("load", "Load", "Take a plan file into the draft"),
      button("compare", "Compare", "With the file, or with the plan in force where no file is named"),
      make("span", { class: "llp-gap" }), make("label", { class: "llp-check" }, part.trail, "Pheromone")),
    part.live);
  part.buttons.help.setAttribute("aria-expanded", "false");
  part.buttons.help.setAttribute("aria-label", "Keys and help");
  return part;
}

function figure(label, value, note, kind = "") {
  return make("div", { class: `llp-figure ${kind}` }, make("div", { class: "llp-label" }, label), make("div", { class: "llp-value" }, value),
    make("div", { class: "llp-under" }, note));
}

/** Show the figures of prediction `p`; `base` is the plan in force or null. */
export function drawFigures(part, t, p, base, measured) {
  const change = base && base.tokensPerSecond > 0 ? 100 * (p.tokensPerSecond / base.tokensPerSecond - 1) : 0;
  const against = !base ? "" : Math.abs(change) < 0.05 ? "as the plan in force" : `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(1)} % to the plan in force`;
  const over = t.devices.map((d, i) => (p.over[i] ? d.name : null)).filter(Boolean);
  if (!p.pins) over.push("pinned memory");
  if (!p.good) over.push("loss of quality");
  part.figures.replaceChildren(
    figure("predicted", `${rateText(p.tokensPerSecond)} tokens/s`, against, "llp-main"),
    ...(measured > 0 ? [figure("measured now", `${rateText(measured)} tokens/s`, "last 12 tokens")] : []),
    figure("per token", secondsText(p.tpot), `limit: ${p.limit}`),
    figure("first token", secondsText(p.ttft), ""),
    figure("copied per token", bytesText(p.copied), ""),
    figure("gap to bound", ...gapFigure(p, t.bound)),
    figure("memory", over.length ? "OVER" : "fits", over.length ? over.join(", ") : "all caps hold", over.length ? "llp-bad" : ""));
}

/** Show one bar per device: used, the cap as a line, what is over it hatched. */
export function drawMemory(part, t, p) {
  part.memory.replaceChildren(...t.devices.map((device, d) => {
    const used = p.peak[d], cap = t.caps[d], capped = Number.isFinite(cap), whole = Math.max(used, capped ? cap : used, 1);
    const over = p.over[d] > 0, share = (bytes) => `${(100 * bytes) / whole}%`;
    const bar = make("div", { class: capped ? "llp-track" : "llp-track llp-nocap" }, make("div", { class: "llp-fill", style: `width:${share(Math.min(used, cap))}` }));
    if (over) bar.append(make("div", { class: "llp-over", style: `left:${share(cap)};width:${share(used - cap)}` }));
    if (capped) bar.append(make("div", { class: "llp-cap", style: `left:${share(cap)}` }));
    const words = capped ? `${bytesText(used)} of ${bytesText(cap)}` : `${bytesText(used)}, no cap`;
    return make("div", { class: "llp-use", role: "group", "aria-label": `Memory of ${device.name}: ${words}${over ? ", OVER" : ""}` },
      make("b", {}, device.name), bar, make("span", {}, words, over ? make("strong", {}, ` OVER by ${bytesText(p.over[d])}`) : ""));
  }));
}

/** Say why a block is where it is: the kernel's words where they came, else the browser's own figures. */
export function drawWhy(part, t, choice, block, words) {
  const [first, ...rest] = words ? words.split("\n") : [`${t.blocks[block]} is ${choiceText(t, block, choice[block])}.`];
  const lines = words ? rest : alternatives(t, choice, block).slice(0, 4).map((other) =>
    `${other.label}: ${changeText(other.seconds)}; ${other.fits ? "it fits" : `${other.device} would be OVER its cap by ${bytesText(other.over)}`}`);
  part.why.replaceChildren(make("div", { class: "llp-first-line" }, first), make("ul", {}, ...lines.map((line) => make("li", {}, line))));
}

/** Show both predictions and how many blocks differ. */
export function drawCompare(part, t, choice, p, other) {
  if (!other) return part.compare.replaceChildren();
  const q = predict(t, other.choice), changed = choice.filter((k, b) => k !== other.choice[b]).length;
  const rows = [["draft", p], [other.name, q]].map(([name, x]) => make("tr", {}, make("th", { scope: "row" }, name),
    ...[`${rateText(x.tokensPerSecond)} tokens/s`, secondsText(x.tpot), secondsText(x.ttft), bytesText(x.copied), x.fits ? "fits" : "OVER"].map((v) => make("td", {}, v))));
  const end = make("button", { type: "button", class: "llp-end" }, "End comparison");
  part.compare.replaceChildren(make("table", {}, make("caption", {}, `${changed} ${changed === 1 ? "block differs" : "blocks differ"} from ${other.name}, marked ≠`),
    make("thead", {}, make("tr", {}, ...["", "predicted", "per token", "first token", "copied per token", "memory"].map((v) => make(v ? "th" : "td", v ? { scope: "col" } : {}, v)))),
    make("tbody", {}, ...rows)), end);
  return end;
}

export function drawLegend(part, t) {
  const modes = [...new Set(t.rows.flatMap((row) => row.mode))];
  const texts = { resident: "resident: rests where it computes", streamed: "streamed: copied for each token", demand: "on demand: copied when routed to", split: "split: shared by GPU and CPU" };
  const chip = (kind) => make("i", { class: `llp-key ${kind}`, "aria-hidden": "true" });
  const precisions = new Set(t.rows.flatMap((row) => row.precision));
  part.legend.replaceChildren(
    ...modes.map((mode) => make("span", {}, chip(`llp-${mode}`), texts[mode] || mode)),
    ...(modes.some((m) => m !== "resident") ? [make("span", {}, chip("llp-homekey"), "its weights rest here")] : []),
    ...(precisions.size > 1 ? [make("span", {}, "chip height and number: bits per weight")] : []),
    make("span", { class: "llp-scale" }, "pheromone", make("i", { class: "llp-ramp", "aria-hidden": "true" }), "none to strong"));
}
