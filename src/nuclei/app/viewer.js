// Draws the nuclei over the image: fills, outlines, and what the pointer is on. Runs once, when the page loads.
const state = { shown: null, ids: null, over: 0, frame: 0 };
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
  const shown = JSON.parse(props.value || "null");
  one(".empty").hidden = Boolean(shown);
  one(".shown").hidden = !shown;
  if (!shown) return;
  const ids = await read(shown.labels, shown.size);
  Object.assign(state, { shown, ids, over: 0 });
  all(".stage img").forEach((img) => { if (img.src !== props.picture) img.src = props.picture; });
  one('[data-pane="classes"]').hidden = shown.legend.length < 2;
  one(".tip").textContent = `${shown.name}: ${shown.areas.length} nuclei, ${shown.shape[1]} × ${shown.shape[0]} px`;
  legend();
  draw();
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

element.addEventListener("pointermove", hover);
element.addEventListener("pointerdown", hover);
element.addEventListener("input", draw);
watch(["value", "picture"], show);
show();
