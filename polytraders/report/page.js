// The report's script: draws the charts in the page's colours, sorts tables, shows the code.
"use strict";
(() => {
  const PRINT_WIDTH = 660; // px of A4 inside the margins and a panel's padding
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The figure's own layout, in the colours in force; axes are found by their names.
  function themed(layout, printing) {
    const [ink, soft, grid, panel] = ["--ink", "--soft", "--grid", "--panel"].map(colour);
    const own = { ...layout, autosize: !printing, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    own.font = { ...layout.font, family: getComputedStyle(document.body).fontFamily, color: ink, size: 12 };
    own.hoverlabel = { ...layout.hoverlabel, bgcolor: panel, bordercolor: soft, font: { color: ink } };
    for (const key of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k))])) {
      own[key] = { ...layout[key], gridcolor: grid, zerolinecolor: grid, linecolor: soft, tickcolor: soft };
    }
    if (printing) own.width = PRINT_WIDTH;
    else delete own.width;
    return own;
  }

  const charts = [...document.querySelectorAll(".chart")].map((place) => ({
    place,
    figure: JSON.parse(place.parentElement.querySelector("script.figure").textContent),
  }));
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };

  // <html data-drawn> names the medium that all charts are drawn for, once they are.
  function draw(printing = false) {
    delete document.documentElement.dataset.drawn;
    const drawing = charts.map(({ place, figure }) => Plotly.react(place, figure.data, themed(figure.layout, printing), options));
    Promise.all(drawing).then(() => (document.documentElement.dataset.drawn = printing ? "print" : "screen"));
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  matchMedia("print").addEventListener("change", (change) => draw(change.matches));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw(false));

  // A click (or Enter) on a heading sorts by it: numbers by their exact value, largest first.
  const value = (row, at) => row.cells[at].dataset.v ?? row.cells[at].textContent;
  function sort(heading) {
    const table = heading.closest("table"), body = table.tBodies[0], at = heading.cellIndex;
    const number = heading.classList.contains("n"), first = number ? "descending" : "ascending";
    const other = number ? "ascending" : "descending";
    const way = heading.getAttribute("aria-sort") === first ? other : first;
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const order = (a, b) => sign * (number ? Number(value(a, at)) - Number(value(b, at)) : value(a, at).localeCompare(value(b, at)));
    body.append(...[...body.rows].sort(order));
  }
  document.addEventListener("click", (event) => event.target.matches("table.sortable th") && sort(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("table.sortable th")) sort(event.target);
  });

  const button = document.getElementById("code");
  button.addEventListener("click", () => {
    const shown = document.body.classList.toggle("code");
    button.textContent = shown ? "Hide code" : "Show code";
    button.setAttribute("aria-pressed", String(shown));
  });
})();
