"use strict";
// Searches, filters and sorts the rows of the index, and keeps the search in the address, so that it can be linked.

const body = document.querySelector("#labels tbody");
const rows = [...body.rows];
const texts = rows.map((row) => `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase());
const words = document.getElementById("words");
const layer = document.getElementById("layer");
const least = document.getElementById("least");

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const from = least.value === "" ? -Infinity : Number(least.value);
  let shown = 0;
  rows.forEach((row, place) => {
    const value = row.cells[2].textContent;
    const fits =
      wanted.every((word) => texts[place].includes(word)) &&
      (!layer || !layer.value || row.dataset.layer === layer.value) &&
      (from === -Infinity || (value !== "" && Number(value) >= from));
    row.hidden = !fits;
    shown += fits;
  });
  document.getElementById("count").textContent = `${shown.toLocaleString("en")} shown`;
  const said = new URLSearchParams();
  for (const one of [words, layer, least]) if (one && one.value) said.set(one.id, one.value);
  history.replaceState(null, "", said.size ? `#${said}` : location.pathname + location.search);
}

document.querySelectorAll("th button").forEach((button) => {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const number = button.dataset.kind === "number";
    const before = heading.getAttribute("aria-sort");
    const down = before ? before === "ascending" : number;
    document.querySelectorAll("th[aria-sort]").forEach((one) => one.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = Number(button.dataset.column);
    const key = (row) => row.cells[column].textContent.trim();
    const order = number
      ? (a, b) => (key(a) === "") - (key(b) === "") || (down ? -1 : 1) * (Number(key(a)) - Number(key(b)))
      : (a, b) => (down ? -1 : 1) * key(a).localeCompare(key(b), "en", { numeric: true });
    body.append(...[...rows].sort(order));
  });
});

function read() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const one of [words, layer, least]) if (one) one.value = kept.get(one.id) ?? "";
  filter();
}

document.getElementById("find").addEventListener("input", filter);
document.getElementById("find").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", read);
read();
