// Draws the figures, sorts the tables, opens what is folded before printing.
const dark = matchMedia("(prefers-color-scheme: dark)");
const { specs, themes } = JSON.parse(document.getElementById("specs").textContent);

async function draw() {
  const theme = dark.matches ? "dark" : "light";
  await Promise.all([...document.querySelectorAll("[data-figure]")].map(async (place) => {
    const spec = fitPanels(specs[place.dataset.figure], place.clientWidth);
    await window.vegaEmbed(place, spec, { config: themes[theme], actions: false, renderer: "svg", ast: true, logLevel: 1, tooltip: { theme } });
    place.querySelector("svg")?.setAttribute("aria-hidden", "true"); // the description speaks for it
  }));
  document.documentElement.dataset.drawn = theme;
}

function compare(first, second) {
  const [a, b] = [Number(first), Number(second)];
  return Number.isNaN(a) || Number.isNaN(b) ? first.localeCompare(second, "en", { numeric: true }) : a - b;
}

// What is not known comes last, whichever way a column is sorted.
function sort(head) {
  const body = head.closest("table").tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const rising = head.getAttribute("aria-sort") !== "ascending";
  const value = (row) => row.children[column].dataset.value;
  body.append(...[...body.rows].sort((first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return rising ? compare(a, b) : compare(b, a);
  }));
  for (const other of head.parentElement.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  document.getElementById("sorted").textContent = `Sorted by ${head.textContent}, ${rising ? "ascending" : "descending"}`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("th button");
  if (button) sort(button.parentElement);
});

const opened = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    opened.push(details);
  }
});
addEventListener("afterprint", () => {
  for (const details of opened.splice(0)) details.open = false;
});

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) draw();
  width = innerWidth;
});
dark.addEventListener("change", draw);
await draw();
