// Draws the nuclei over the image: fills, outlines, and what the pointer is on; zooms and moves all panes alike.
// Runs once, when the page loads.
const state = { shown: null, ids: null, over: 0, frame: 0, drag: null };
// The part of the image that is seen begins at the fractions x and y of it, and has 1/scale of its sides.
const view = { scale: 1, x: 0, y: 0 };
const one = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const setting = (name) => one(`input[name="${name}"]`);

// Neighbouring numbers get hues far apart: steps of the golden angle.
function hue(n) {
  const h = (n * 137.508) % 360;
  const channel = (k) => {
    const t = (k + h / 30) % 12;
    return Math.round(255 * (0.6 - 0.4 * Math.max(-1, Math.min(t - 3, 9 - t, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

function colours(pane) {
  const { areas, classes, legend } = state.shown;
  const table = new Uint8Array(3 * (areas.length + 1));
  areas.forEach((_, i) => table.set(pane === "classes" ? legend[classes[i]].colour : hue(i + 1), 3 * (i + 1)));
  return table;
}

function paint(pane) {
  const canvas = one(`[data-pane="${pane}"] canvas`);
  const [width, height] = state.shown.size;
  const alpha = Math.round(255 * setting("opacity").value);
  const outlines = setting("outlines").checked;
  const { ids, over } = state;
  const table = colours(pane);
  const drawn = new ImageData(width, height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (!id) continue;
      const edge = x === 0 || y === 0 || x === width - 1 || y === height - 1 || ids[i - 1] !== id ||
        ids[i + 1] !== id || ids[i - width] !== id || ids[i + width] !== id;
      const white = id === over && edge;
      drawn.data[4 * i] = white ? 255 : table[3 * id];
      drawn.data[4 * i + 1] = white ? 255 : table[3 * id + 1];
      drawn.data[4 * i + 2] = white ? 255 : table[3 * id + 2];
      drawn.data[4 * i + 3] = (edge && outlines) || white ? 255 : alpha;
    }
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(drawn, 0, 0);
  canvas.setAttribute("aria-label", `${state.shown.areas.length} nuclei in ${state.shown.name}`);
}

function draw() {
  cancelAnimationFrame(state.frame);
  state.frame = requestAnimationFrame(() => {
    if (!state.ids) return;
    all("[data-pane] canvas").filter((c) => !c.closest("[hidden]")).forEach((c) => paint(c.closest("[data-pane]").dataset.pane));
    all(".stage img").forEach((img) => { img.style.filter = `brightness(${setting("brightness").value})`; });
  });
}

function legend() {
  one(".legend tbody").replaceChildren(...state.shown.legend.map(({ name, colour, count }) => {
    const row = document.createElement("tr");
    const cells = [document.createElement("td"), document.createElement("td")];
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${colour})`;
    cells[0].append(swatch, name);
    cells[1].className = "count";
    cells[1].textContent = count;
    row.dataset.class = name;
    row.append(...cells);
    return row;
  }));
}

// The PNG's colours are the numbers of the nuclei: blue ones, green 256s, red 65536s.
async function read(uri, [width, height]) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const ids = new Uint32Array(width * height);
  for (let i = 0, k = 0; i < ids.length; i++, k += 4) ids[i] = (data[k] << 16) | (data[k + 1] << 8) | data[k + 2];
  return ids;
}

async function show() {
  const { value } = props;
  const shown = JSON.parse(value || "null");
  one(".empty").hidden = Boolean(shown);
  one(".shown").hidden = !shown;
  if (!shown) return;
  const ids = await read(shown.labels, shown.size);
  if (props.value !== value) return; // a later one has come meanwhile
  const same = state.shown?.name === shown.name && String(state.shown.size) === String(shown.size);
  Object.assign(state, { shown, ids, over: 0 });
  if (same) look(view.scale, view.x, view.y);
  else look(1, 0, 0);
  one(".warnings").replaceChildren(...shown.warnings.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  one(".warnings").hidden = !shown.warnings.length;
  one(".notes").textContent = shown.notes.join(" · ");
  all(".stage img").forEach((img) => { if (img.src !== props.picture) img.src = props.picture; });
  one('[data-pane="classes"]').hidden = shown.legend.length < 2;
  one(".tip").textContent = `${shown.name}: ${shown.areas.length} nuclei, ${shown.shape[1]} × ${shown.shape[0]} px`;
  legend();
  draw();
}

function stageOf(event) {
  return state.ids && event.target.closest?.(".stage");
}

// Where the pointer is in its pane, as fractions of the sides.
function spot(event, stage) {
  const box = stage.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function look(scale, x, y) {
  // A pixel gets at most 32 of the screen's.
  const widest = Math.max(8, (32 * (state.shown?.size[0] ?? 0)) / (one(".stage").clientWidth || 300));
  view.scale = Math.min(widest, Math.max(1, scale));
  const last = 1 - 1 / view.scale;
  view.x = Math.min(last, Math.max(0, x));
  view.y = Math.min(last, Math.max(0, y));
  const transform = view.scale === 1 ? "" : `scale(${view.scale}) translate(${-100 * view.x}%, ${-100 * view.y}%)`;
  all(".stage img, .stage canvas").forEach((part) => { part.style.transform = transform; });
  all(".stage").forEach((stage) => stage.classList.toggle("zoomed", view.scale > 1));
  one(".zoom .scale").textContent = `${Math.round(100 * view.scale)} %`;
}

// Zoom so that what is at a place of the pane stays there.
function zoom(factor, [x, y] = [0.5, 0.5]) {
  const before = view.scale;
  const at = [view.x + x / before, view.y + y / before];
  look(before * factor, 0, 0);
  look(view.scale, at[0] - x / view.scale, at[1] - y / view.scale);
}

function wheel(event) {
  const stage = stageOf(event);
  if (!stage || (view.scale === 1 && event.deltaY >= 0)) return; // the page scrolls
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1);
  zoom(Math.exp(-Math.max(-200, Math.min(200, pixels)) / 300), spot(event, stage));
}

function press(event) {
  hover(event);
  const stage = stageOf(event);
  if (!stage || view.scale === 1 || event.button) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  state.drag = { stage, from: spot(event, stage), x: view.x, y: view.y };
  stage.classList.add("dragged");
}

function move(event) {
  if (!state.drag) return hover(event);
  const { stage, from, x, y } = state.drag;
  const now = spot(event, stage);
  look(view.scale, x - (now[0] - from[0]) / view.scale, y - (now[1] - from[1]) / view.scale);
}

function release() {
  state.drag?.stage.classList.remove("dragged");
  state.drag = null;
}

function key(event) {
  if (!stageOf(event)) return;
  const step = 0.1 / view.scale;
  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": () => look(1, 0, 0),
    ArrowLeft: () => look(view.scale, view.x - step, view.y), ArrowRight: () => look(view.scale, view.x + step, view.y),
    ArrowUp: () => look(view.scale, view.x, view.y - step), ArrowDown: () => look(view.scale, view.x, view.y + step),
  };
  if (!keys[event.key] || event.ctrlKey || event.metaKey || (view.scale === 1 && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  keys[event.key]();
}

function click(event) {
  const name = event.target.closest?.(".zoom button")?.name;
  if (name === "fit") look(1, 0, 0);
  else if (name) zoom(name === "in" ? 1.5 : 1 / 1.5);
}

function hover(event) {
  if (!state.ids || !event.target.matches(".stage canvas, .stage img")) return;
  const box = event.target.getBoundingClientRect();
  const [width, height] = state.shown.size;
  const x = Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * width)));
  const y = Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * height)));
  const id = state.ids[y * width + x];
  if (id === state.over) return;
  state.over = id;
  const { areas, classes, legend } = state.shown;
  one(".tip").textContent = id ? `nucleus ${id} · ${areas[id - 1]} px² · ${legend[classes[id - 1]].name}` : "";
  draw();
}

element.addEventListener("pointermove", move);
element.addEventListener("pointerdown", press);
element.addEventListener("pointerup", release);
element.addEventListener("pointercancel", release);
element.addEventListener("wheel", wheel, { passive: false });
element.addEventListener("keydown", key);
element.addEventListener("click", click);
element.addEventListener("input", draw);
watch(["value", "picture"], show);
show();
