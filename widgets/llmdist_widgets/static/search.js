// A search: pheromone, convergence and entropy, live or with a slider through its history.
async function inflate(base64) {
  const raw = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Uint8Array(await new Response(new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

// Frames are stored as differences to the frame before: trail bytes, then one choice byte per block.
async function searchFrames(data) {
  const packed = await inflate(data.frames), cells = data.blocks.length * data.width, size = cells + data.blocks.length;
  return data.iterations.map((_, f) => {
    for (let i = 0; f && i < size; i++) packed[f * size + i] += packed[(f - 1) * size + i];
    return { trail: packed.subarray(f * size, f * size + cells), choice: packed.subarray(f * size + cells, (f + 1) * size) };
  });
}

// The scale of the best and the bound: their distance is what is searched for. A mean above it runs along the upper edge.
function bestScale(data) {
  const best = data.best.filter((v) => v !== null), low = Math.min(...best, ...(data.bound > 0 ? [data.bound] : []));
  const high = Math.max(...best, 1.02 * low), room = 0.08 * (high - low);
  return best.length ? [low - room, high + room] : null;
}

function drawSearch(first, second, third, data, frame) {
  const upTo = data.iterations.indexOf(frame.iteration), scale = bestScale(data);
  const above = scale && data.mean[upTo] > scale[1];
  heat(first, data, frame);
  lines(second, {
    title: "Convergence: predicted milliseconds over iterations", unit: "ms", xs: data.iterations, xWord: "iteration", marker: frame.iteration, lowHigh: scale,
    series: [{ values: data.mean, colour: "mean", label: above ? "ants' mean, above" : "ants' mean" }, { values: data.best, colour: "best", label: `best ${number(data.best[upTo])} ms` }],
    levels: data.bound > 0 ? [{ value: data.bound, colour: "bound", label: `bound ${number(data.bound)} ms` }] : [],
  });
  lines(third, {
    title: "Entropy of the trail: 1 is open, 0 is decided", unit: "", xs: data.iterations, xWord: "iteration", marker: frame.iteration, height: 120, lowHigh: [0, 1],
    series: [{ values: data.entropy, colour: "best", label: `entropy ${data.entropy[upTo].toFixed(2)}` }],
  });
}

async function replaySearch(el, data) {
  data.options = data.kind_of.map((k) => data.kinds[k]);
  const frames = await searchFrames(data), row = document.createElement("div");
  row.style.cssText = "display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center;margin:8px 0;max-width:960px";
  const play = document.createElement("button"), slider = document.createElement("input"), said = document.createElement("output");
  play.type = "button"; play.textContent = "Play"; play.style.cssText = "min-width:64px;padding:4px 10px";
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1, value: frames.length - 1 });
  slider.setAttribute("aria-label", "iteration of the search"); slider.style.flex = "1 1 120px"; slider.style.minWidth = "0";
  said.style.minWidth = "250px";
  row.append(play, slider, said); el.append(row);
  const nodes = ["Pheromone per block and option", "Convergence of the search", "Entropy of the trail"].map((words) => plot(el, words));
  const draw = () => {
    const k = Number(slider.value);
    drawSearch(...nodes, data, { ...frames[k], iteration: data.iterations[k], entropy: data.entropy[k] });
    const words = `iteration ${data.iterations[k]}, ${number(data.elapsed[k])} s, best ${number(data.best[k])} ms`;
    said.textContent = words; slider.setAttribute("aria-valuetext", words);
  };
  let timer = null;
  const pause = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  play.onclick = () => {
    if (timer) { pause(); return; }
    if (Number(slider.value) === frames.length - 1) slider.value = 0;
    play.textContent = "Pause";
    timer = setInterval(() => { if (!el.isConnected || Number(slider.value) >= frames.length - 1) { pause(); return; } slider.value = Number(slider.value) + 1; draw(); }, 120);
  };
  slider.oninput = () => { pause(); draw(); };
  return draw;
}
