// A Pareto front to pick from: points and rows are one radio group; a click or Enter asks for the plan.
const SVG = "http://www.w3.org/2000/svg";

const POINTER = `<style>svg{display:block;max-width:960px;margin:6px 0}[data-plan]{cursor:pointer}
[data-plan]:hover circle:last-of-type{stroke:#d55e00;stroke-width:3}</style>`;

function node(name, attributes, words) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  return made;
}

function frontTable(front, pick) {
  const table = document.createElement("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const words of front.headings) { const th = document.createElement("th"); th.scope = "col"; th.textContent = words; head.append(th); }
  const last = document.createElement("th"); last.scope = "col"; last.textContent = "take"; head.append(last);
  front.rows.forEach((cells, i) => {
    const row = body.insertRow();
    for (const words of cells) row.insertCell().textContent = words;
    const button = document.createElement("button");
    button.type = "button"; button.textContent = "Pick"; button.setAttribute("aria-label", `Pick plan ${i + 1}: ${cells[1]} tokens/s, ${cells[2]}`);
    button.onclick = (event) => { event.stopPropagation(); pick(i + 1); };
    row.insertCell().append(button); row.onclick = () => pick(i + 1);
  });
  return table;
}

// The picture is Python's own, inline; its circles are found by their number.
function frontPicture(el, front, pick) {
  const holder = document.createElement("div");
  const ink = (getComputedStyle(el).color.match(/[\d.]+/g) || [0, 0, 0]).map(Number), dark = ink[0] + ink[1] + ink[2] > 384;
  const root = holder.attachShadow({ mode: "open" });  // its styles stay its own; the page's theme decides, not the system's
  root.innerHTML = front.picture.replace("prefers-color-scheme:dark", dark ? "min-width:0" : "max-width:0") + POINTER;
  for (const point of root.querySelectorAll("[data-plan]")) {
    const number = Number(point.dataset.plan);
    point.onclick = () => pick(number);
    point.onmouseenter = () => mark(el, number, true); point.onmouseleave = () => mark(el, number, false);
    const cells = front.rows[number - 1];
    point.append(node("title", {}, `plan ${number}: ${cells[1]} tokens/s, ${cells[2]}, loss of quality ${cells[3]}, ${cells[4]}`));
  }
  return holder;
}

function mark(el, number, on) {
  el.querySelectorAll("tbody tr")[number - 1]?.classList.toggle("llf-under", on);
}

function render({ model, el }) {
  el.classList.add("llf");
  const said = document.createElement("div"), place = document.createElement("div"), rows = document.createElement("div");
  said.setAttribute("role", "status"); said.className = "llf-said"; rows.className = "llf-rows";
  el.append(said, place, rows);
  const pick = (number) => { if (model.get("front").can_pick) model.send({ ask: "pick", plan: number }); };
  let table = null;
  const draw = () => {
    const front = model.get("front"), state = model.get("state");
    place.replaceChildren(frontPicture(el, { ...front, picture: state.picture }, pick));
    if (!table) { table = frontTable(front, pick); rows.append(table); table.classList.toggle("llf-fixed", !front.can_pick); }
    [...table.tBodies[0].rows].forEach((row, i) => {
      const chosen = i + 1 === state.chosen, button = row.querySelector("button");
      row.classList.toggle("llf-chosen", chosen); row.setAttribute("aria-selected", String(chosen));
      button.textContent = chosen ? "In force" : "Pick"; button.setAttribute("aria-pressed", String(chosen));
    });
    said.textContent = state.said; said.classList.toggle("llf-failed", Boolean(state.failed));
  };
  model.on("change:state", draw);
  draw();
  const placed = new ResizeObserver(() => { placed.disconnect(); draw(); });  // only on the page it has the theme's colour
  placed.observe(el);
  const themes = new MutationObserver(draw);  // the picture takes its colours from the theme when it is drawn
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  return () => { model.off("change:state", draw); themes.disconnect(); placed.disconnect(); };
}

export default { render };
