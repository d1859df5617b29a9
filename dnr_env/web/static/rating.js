"use strict";
// The page works without this script. With it, keys answer, pictures grow in place, and heat maps stay on.

const large = document.getElementById("large");
const maps = document.getElementById("maps");
let sent = false;

document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  if (sent) event.preventDefault(); // the second click of a double click
  sent = true;
});

window.addEventListener("pageshow", () => (sent = false)); // as the back button brings a page back

document.addEventListener("click", (event) => {
  const picture = event.target.closest("a.picture");
  if (!picture || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const whole = document.getElementById("whole");
  whole.src = (maps && maps.checked && picture.dataset.over) || picture.href;
  whole.alt = picture.querySelector("img").alt;
  large.showModal();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || large.open || event.repeat) return;
  if (performance.now() < 250) return; // a second press was for the screen before
  const digit = event.code.match(/^Digit(\d)$/); // whose key has another letter on some keyboards
  const found = document.querySelector(`[data-key="${CSS.escape(digit ? digit[1] : event.key)}"]`);
  if (!found || found.disabled) return;
  event.preventDefault();
  found.click();
});

if (maps) {
  maps.checked = sessionStorage.getItem("maps") === "1";
  maps.addEventListener("change", () => sessionStorage.setItem("maps", maps.checked ? "1" : ""));
}
