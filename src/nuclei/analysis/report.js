"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");

  // Plots are drawn when they come near the window, in the colours of the page.
  const looks = (layout) => {
    const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
    const look = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": colour("--text"),
      "hoverlabel.bgcolor": colour("--panel"), "hoverlabel.font.color": colour("--text"),
    };
    const axes = ["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))];
    for (const axis of new Set(axes)) {
      Object.assign(look, {
        [`${axis}.gridcolor`]: colour("--line"), [`${axis}.zerolinecolor`]: colour("--line"),
        [`${axis}.linecolor`]: colour("--line"), [`${axis}.automargin`]: true,
      });
    }
    return look;
  };
  const canvases = [...document.querySelectorAll(".canvas")];
  const drawn = new Set();
  const draw = async (canvas) => {
    if (drawn.has(canvas)) return;
    drawn.add(canvas);
    const figure = JSON.parse(document.getElementById(`figure-${canvas.dataset.figure}`).textContent);
    await Plotly.newPlot(canvas, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
    await Plotly.relayout(canvas, looks(figure.layout));
    canvas.dataset.drawn = "yes";
  };
  const watcher = new IntersectionObserver(
    (seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "400px" },
  );
  addEventListener("load", () => canvases.forEach((canvas) => watcher.observe(canvas))); // Plotly is there by then
  addEventListener("beforeprint", () => canvases.forEach(draw));

  const recolour = () => canvases.filter((c) => c.dataset.drawn).forEach((c) => Plotly.relayout(c, looks(c.layout)));
  dark.addEventListener("change", recolour);
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    recolour();
  });

  // A click on a column's name sorts by it: numbers from the greatest, texts from A, then the other way round.
  const value = (cell) => ("sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim());
  const compare = (a, b) => {
    if (typeof a === "string" || typeof b === "string") {
      return String(a).localeCompare(String(b), "en", { numeric: true });
    }
    return a - b;
  };
  const sort = (head) => {
    const table = head.closest("table");
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
    const numbers = rows.some(([key]) => typeof key === "number");
    const before = head.getAttribute("aria-sort");
    const first = numbers ? "descending" : "ascending";
    const now = before === null ? first : before === "ascending" ? "descending" : "ascending";
    const sign = now === "ascending" ? 1 : -1;
    const missing = (key) => Number.isNaN(key); // always last
    rows.sort(([a], [b]) => (missing(a) || missing(b) ? missing(a) - missing(b) : sign * compare(a, b)));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", now);
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const head of document.querySelectorAll("th")) {
    const cell = head.closest("table").tBodies[0].rows[0]?.cells[head.cellIndex];
    if (cell?.classList.contains("number")) head.classList.add("number");
    head.firstElementChild.addEventListener("click", () => sort(head));
  }

  // A card's picture in a dialog; the arrows go through the cards of its section.
  const dialog = document.getElementById("enlarged");
  const place = document.getElementById("enlarged-picture");
  let shown = null;
  const enlarge = (card) => {
    shown = card;
    const layers = card.querySelector(".layers").cloneNode(true);
    const [width, height] = layers.style.aspectRatio.split("/").map(Number);
    layers.style.maxWidth = `calc(72vh * ${width / height})`;
    place.replaceChildren(layers);
    document.getElementById("enlarged-title").textContent = card.dataset.title;
    document.getElementById("enlarged-text").textContent = card.dataset.text;
    if (!dialog.open) dialog.showModal();
  };
  const step = (by) => {
    const cards = [...shown.parentNode.querySelectorAll(".card")];
    enlarge(cards[(cards.indexOf(shown) + by + cards.length) % cards.length]);
  };
  document.querySelectorAll(".card").forEach((card) => card.addEventListener("click", () => enlarge(card)));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => shown.focus());
  for (const layer of ["truth", "prediction"]) {
    document.getElementById(`show-${layer}`).addEventListener("change", (event) => {
      place.classList.toggle(`without-${layer}`, !event.target.checked);
    });
  }
})();
