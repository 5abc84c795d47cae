// The cost of one placement from the tables that Python packs: the event recurrence of llmdist.cost, and peak memory.
// Pure functions without a document; a parity test holds them to llmdist.planner.evaluate.

const MAXIMUM_TOKENS = 16, TOLERANCE = 1e-11, OVER_BYTES = 0.5;
const number = (v) => (v === null ? Infinity : v);

/** Return the tables ready for use: None of JSON becomes Infinity, every block points at its row. */
export function openTables(packed) {
  const pass = (p) => ({ compute: p.compute.map(number), copy: p.copy.map(number), busy: p.busy.map((row) => row.map(number)) });
  const rows = packed.rows.map((row) => ({ ...row, count: row.execute.length, used: row.used.map((parts) => parts.map(number)), decode: pass(row.decode), prefill: pass(row.prefill) }));
  return { ...packed, caps: packed.caps.map(number), pinnedCaps: packed.pinnedCaps.map(number), options: packed.row_of.map((r) => rows[r]) };
}

const addTo = (sums, values) => values.forEach((value, i) => { sums[i] += value; });

/** Return {peak bytes per device, bytes to pin per device, loss of quality}. */
export function memoryOf(t, choice) {
  const peak = t.devices.map(() => 0), pinned = t.devices.map(() => 0);
  const lanes = t.executors.map(() => ({ any: false, staged: 0, largest: 0 }));
  let penalty = 0;
  choice.forEach((k, b) => {
    const row = t.options[b], lane = lanes[row.execute[k]];
    addTo(peak, row.memory[k]);
    addTo(pinned, row.pinned[k]);
    penalty += row.penalty[k];
    lane.any = true;
    if (row.staged[k]) lane.staged += 1;
    lane.largest = Math.max(lane.largest, row.slot[k]);
  });
  lanes.forEach((lane, e) => {
    peak[t.executors[e]] += (lane.any ? t.workspace : 0) + Math.min(t.slots, lane.staged) * lane.largest;
  });
  return { peak, pinned, penalty };
}

/** Return one pass's seconds: at least those of the chain and of each shared resource, and of the busiest (stages, last, have the activations). */
function busyOf(t, choice, kind) {
  const busy = t.resources.map(() => 0), stages = busy.length - t.executors.length;
  let chain = 0, barred = false, before = t.options[0].execute[choice[0]];
  choice.forEach((k, b) => {
    const row = t.options[b], e = row.execute[k], arrival = t.transfer[kind][before][e];
    barred = barred || t.forbidden[before][e];
    chain += row[kind].compute[k] + arrival;
    addTo(busy, row[kind].busy[k]);
    busy[stages + e] += arrival;
    before = e;
  });
  if (barred) return { seconds: Infinity, busiest: Infinity };
  return { seconds: Math.max(chain, ...busy.slice(0, stages)), busiest: Math.max(...busy) };
}

/** Return what is in use for how long in a pass, in the order of the blocks: devices, links, activations, the pass. */
function usedOf(t, choice) {
  const busy = new Map(t.pass ? [["the pass", t.pass]] : []), parts = t.devices.map(() => ({ blocks: 0, reading: 0 }));
  const add = (name, seconds) => busy.set(name, (busy.get(name) || 0) + seconds);
  const compute = (d, seconds, reading) => { add(t.devices[d].name, seconds); parts[d].blocks += 1; parts[d].reading += reading; };
  let before = t.options[0].execute[choice[0]];
  choice.forEach((k, b) => {
    const row = t.options[b], e = row.execute[k], d = t.executors[e], [own, other, copy, reading, itsReading] = row.used[k];
    compute(d, own, reading);
    if (row.eighths[k] && t.hosts[d] !== null) compute(t.hosts[d], other, itsReading);
    if (copy) add(`${t.devices[row.home[k]].name}>${t.devices[d].name}`, copy);
    if (e !== before) add("activations", t.transfer.decode[before][e]);
    before = e;
  });
  return { busy, parts };
}

const LIMITS = 0.9;  // what is busy for this share of a pass limits it

/** Return what limits a pass of `pass` seconds, as llmdist.planner.bottleneck judges it. */
function limitOf(t, choice, pass) {
  if (pass === Infinity) return "no path between devices";
  const { busy, parts } = usedOf(t, choice);
  const [name, longest] = [...busy].reduce((most, one) => (one[1] > most[1] ? one : most));
  if (name === "the pass" && longest >= 0.5 * pass) return "price of a pass";
  if (longest < LIMITS * pass && busy.size > 1) return [...busy.keys()].some((key) => key.includes(">")) ? "copies and computing in turn" : "devices in turn";
  if (name === "activations") return "way of activations";
  if (name.includes(">")) return `link ${name}`;
  const d = t.devices.findIndex((device) => device.name === name), fixed = parts[d].blocks * t.overhead[d];
  if (fixed > 0.5 * longest) return `fixed price of blocks on ${name}`;
  return `${longest - fixed > 1.05 * parts[d].reading ? "computing on" : "memory of"} ${name}`;
}

/** Return the end times of up to `tokens` passes from a cold start. */
function ends(t, choice, kind, tokens, floor) {
  const lanes = t.executors.map(() => ({ free: 0, slots: [], count: 0 })), found = [];
  choice.forEach((k, b) => { const r = t.options[b]; if (r.streamed[k]) lanes[r.execute[k]].count += 1; });
  lanes.forEach((lane) => { lane.slots = new Array(Math.min(t.slots, lane.count)).fill(0); lane.next = 0; });
  let now = 0;
  for (let token = 0; token < tokens; token++) {
    let before = t.options[0].execute[choice[0]];
    for (let b = 0; b < choice.length; b++) {
      const k = choice[b], row = t.options[b], e = row.execute[k], costs = row[kind];
      now += t.transfer[kind][before][e];
      before = e;
      if (!row.streamed[k]) { now += costs.compute[k]; continue; }
      const lane = lanes[e], slot = lane.next;
      lane.next = (slot + 1) % lane.slots.length;
      lane.free = Math.max(lane.free, lane.slots[slot]) + costs.copy[k];
      now = Math.max(now, lane.free) + costs.compute[k];
      lane.slots[slot] = now;
    }
    found.push(now);
    if (token > 2 && spread(found) <= TOLERANCE * floor) break;
  }
  return found;
}

/** Return how much the last three periods differ. */
function spread(found) {
  const last = [1, 2, 3].map((i) => found[found.length - i] - found[found.length - i - 1]);
  return Math.max(...last) - Math.min(...last);
}

/** Return predicted speed and memory of `choice`, one option index per block. */
export function predict(t, choice) {
  const floor = busyOf(t, choice, "decode");
  const times = floor.seconds === Infinity ? [Infinity, Infinity] : ends(t, choice, "decode", MAXIMUM_TOKENS, floor.seconds);
  const last = times.length - 1, half = Math.min(MAXIMUM_TOKENS / 2, last);
  const settled = last >= 3 && spread(times) <= TOLERANCE * floor.seconds;
  const period = settled ? times[last] - times[last - 1] : (times[last] - times[last - half]) / half;
  const pass = Math.max(floor.seconds, Number.isNaN(period) ? Infinity : period), tpot = pass / t.accepted;
  const first = busyOf(t, choice, "prefill").seconds;
  const ttft = first === Infinity ? Infinity : Math.max(first, ends(t, choice, "prefill", 1, first)[0]);
  const objective = t.objective === "throughput" ? Math.max(floor.busiest, pass / t.inFlight) / t.accepted
    : t.objective === "latency" ? tpot : ttft + Math.max(0, t.newTokens - 1) * tpot;
  const { peak, pinned, penalty } = memoryOf(t, choice);
  const over = peak.map((used, d) => (used - t.caps[d] >= OVER_BYTES ? used - t.caps[d] : 0));
  const pins = pinned.every((bytes, d) => bytes - t.pinnedCaps[d] < OVER_BYTES);
  const good = t.budget === null || penalty - t.budget <= 1e-9 * Math.max(1, t.budget);
  return {
    tokensPerSecond: t.batch / (t.objective === "throughput" ? objective : tpot), tpot, ttft, objective, peak, over, penalty,
    fits: over.every((bytes) => bytes === 0) && pins && good, pins, good,
    gap: t.bound > 0 ? Math.max(0, objective / t.bound - 1) : Infinity,
    copied: choice.reduce((sum, k, b) => sum + t.options[b].copied[k], 0),
    get limit() { return limitOf(t, choice, pass); },
  };
}

/** Return every other option of `block` with what it would change, the fastest that fits first. */
export function alternatives(t, choice, block) {
  const now = predict(t, choice), found = [], moved = choice.slice();
  for (let k = 0; k < t.options[block].count; k++) {
    if (k === choice[block]) continue;
    moved[block] = k;
    const then = predict(t, moved), device = then.over.indexOf(Math.max(...then.over));
    found.push({ option: k, label: t.options[block].label[k], seconds: then.tpot === now.tpot ? 0 : then.tpot - now.tpot, fits: then.fits,
      device: t.devices[device].name, over: then.over[device] });
  }
  return found.sort((a, b) => b.fits - a.fits || a.seconds - b.seconds);
}
