// A saved view becomes interactive where scripts are allowed.
function plot(el, words) {
  const node = document.createElement("canvas");
  node.style.cssText = "width:100%;max-width:960px;display:block;margin:6px 0";
  node.setAttribute("role", "img"); node.setAttribute("aria-label", words);
  el.append(node);
  return node;
}

// Replaces the pictures beside the data by their interactive form; without scripts the pictures stay.
async function mount(root, replay) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const el = document.createElement("div");
  root.append(el);
  const draw = await replay(el, data);
  for (const old of root.querySelectorAll("img")) old.remove();
  new ResizeObserver(draw).observe(el);
  draw();
}
