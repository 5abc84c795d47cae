// When to draw: the latest state wins, and drawing takes at most about a hundredth of a processor, so that a machine of
// two cores keeps them for the model and a fast one moves smoothly. A drawing counts until its pixels are handed on.
const SHARE = 100, SOONEST = 100, LATEST = 2000;

// Returns { ask, now, end }: `ask` draws when it is time, `now` at once; nothing is drawn while `el` is out of sight. An
// element that nothing was drawn in yet has no height, so no observer can see it come into sight: it is drawn at once.
function paced(el, draw) {
  let due = 0, frame = 0, timer = 0, wanted = false, seen = true;
  const run = () => {
    frame = 0; wanted = false;
    const began = performance.now(), after = new MessageChannel();
    due = began + LATEST;
    after.port1.onmessage = () => { // the first task behind the frame: style, layout and painting are done
      const took = performance.now() - began;
      after.port1.close();
      due = began + Math.min(LATEST, Math.max(SOONEST, SHARE * took));
    };
    draw();
    after.port2.postMessage(0);
  };
  const visible = () => seen || el.offsetHeight < 2;
  const soon = () => { timer = 0; if (wanted && visible() && !frame) frame = requestAnimationFrame(run); };
  const ask = () => {
    wanted = true;
    if (!frame && !timer && visible()) timer = setTimeout(soon, Math.max(0, due - performance.now()));
  };
  const now = () => { wanted = true; clearTimeout(timer); soon(); };
  const sight = new IntersectionObserver((entries) => { seen = entries[entries.length - 1].isIntersecting; if (seen && wanted) ask(); });
  sight.observe(el);
  return { ask, now, end: () => { sight.disconnect(); clearTimeout(timer); cancelAnimationFrame(frame); } };
}
