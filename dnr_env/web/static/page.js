"use strict";
// The page works without this script. With it, keys act, forms do not reload, and a typed concept is scored at once.

const main = document.getElementById("main");
const progress = document.getElementById("progress");
const large = document.getElementById("large");
let sending = false;

const typing = () => document.activeElement instanceof HTMLInputElement && document.activeElement.type === "text";
const cards = () => [...document.querySelectorAll("form.card")];
const chosen = () => document.querySelector("form.card.chosen");

function choose(card) {
  if (!card) return;
  cards().forEach((one) => one.classList.toggle("chosen", one === card));
}

async function send(form, button) {
  if (sending) return;
  sending = true;
  setTimeout(follow, 80); // shorter work shows no bar
  const fields = new URLSearchParams(new FormData(form));
  if (button && button.name) fields.set(button.name, button.value);
  try {
    const answer = await fetch("/event", { method: "POST", body: fields, headers: { "X-Part": "1" } });
    const text = await answer.text();
    const added = answer.ok && fields.get("event") === "add";
    if (answer.headers.get("content-type").startsWith("text/html")) show(text, fields.get("slot"), added);
    else say(text);
  } catch {
    say("The server does not answer. What you did before is saved; start it again and reload.");
  } finally {
    sending = false;
    follow();
  }
}

// Where the focus is to be when the page is new: where it was, but at the chosen candidate if it was at one.
function place(element, added) {
  if (!main.contains(element)) return null;
  if (added || element.closest("form.card")) return "form.card.chosen";
  if (element.id) return `#${element.id}`;
  return element.dataset.key ? `[data-key="${element.dataset.key}"]:not(form.card *)` : null;
}

function show(html, slot, added = false) {
  const title = document.querySelector("h1").textContent;
  const typed = added ? "" : document.getElementById("concept").value;
  const focused = place(document.activeElement, added);
  const maps = document.getElementById("maps");
  const kept = maps && maps.checked;
  main.innerHTML = html; // written by the server, which escapes every text
  const again = document.getElementById("maps");
  if (again) again.checked = kept;
  const message = document.getElementById("message").textContent;
  if (message && slot) choose(document.querySelector(`form.card[data-slot="${slot}"]`));
  if (title === document.querySelector("h1").textContent) document.getElementById("concept").value = typed;
  const found = focused && document.querySelector(focused);
  if (found) found.focus({ preventScroll: true });
  document.title = `${document.querySelector("h1").textContent} · DnR`;
}

function say(text) {
  document.getElementById("message").textContent = text;
}

// The second click of a double click would be for the candidate that the first one has brought there.
let second = false;
document.addEventListener("click", (event) => (second = event.detail > 1 && Boolean(event.target.closest("form.card"))), true);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "dialog") return;
  event.preventDefault();
  if (second) return;
  if (form.action.endsWith("/cancel")) fetch("/cancel", { method: "POST" });
  else send(form, event.submitter);
});

document.addEventListener("click", (event) => {
  const picture = event.target.closest("a.picture");
  if (picture && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    const whole = document.getElementById("whole");
    const maps = document.getElementById("maps");
    whole.src = (maps && maps.checked && picture.dataset.over) || picture.href;
    whole.alt = picture.querySelector("img").alt;
    large.showModal();
    return;
  }
  choose(event.target.closest("form.card"));
});

document.addEventListener("focusin", (event) => choose(event.target.closest("form.card")));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || large.open) return;
  if (typing()) {
    if (event.key === "Escape") document.activeElement.blur();
    return;
  }
  const digit = event.code.match(/^Digit([1-9])$/); // whose key has another letter on some keyboards
  if (digit || /^[1-9]$/.test(event.key)) {
    const card = cards()[Number(digit ? digit[1] : event.key) - 1];
    choose(card);
    if (card) card.focus();
    return;
  }
  const key = CSS.escape(event.key.length === 1 ? event.key.toLowerCase() : event.key); // as with Caps Lock
  const scope = chosen();
  const found = (scope && scope.querySelector(`[data-key="${key}"]`)) || [...document.querySelectorAll(`[data-key="${key}"]`)].find((one) => !one.closest("form.card"));
  if (!found || found.disabled) return;
  event.preventDefault();
  if (found instanceof HTMLInputElement) found.focus();
  else if (!event.repeat) found.click();
});

let asked = 0;
document.addEventListener("input", async (event) => {
  if (event.target.id !== "concept") return;
  const text = event.target.value.trim();
  const mine = ++asked;
  await new Promise((done) => setTimeout(done, 40)); // another letter may follow
  if (mine !== asked) return;
  const output = document.getElementById("instant");
  if (!text) {
    output.textContent = "";
    return;
  }
  const query = new URLSearchParams({ text });
  const [found, words] = await Promise.all(["/promise", "/words"].map((path) => fetch(`${path}?${query}`).then((one) => one.json())));
  if (mine !== asked) return;
  document.getElementById("known").replaceChildren(...words.map((word) => Object.assign(document.createElement("option"), { value: word })));
  if (found.busy) output.textContent = "";
  else if (found.error) output.textContent = found.error;
  else {
    const ignored = found.passed_over.length ? `; not understood: ${found.passed_over.join(", ")}` : "";
    const score = output.dataset.blind === "1" ? "" : `: promises ${found.mean.toFixed(3)}, coverage ${found.coverage.toFixed(2)}, precision ${found.precision.toFixed(2)}`;
    output.textContent = `read as “${found.concept}”${score}${ignored}`;
  }
});

// A browser has six connections to a server for all its tabs, so that a tab asks how far a measurement is only meanwhile.
let source = null;
let unheard = null;
function follow() {
  const busy = sending || document.querySelector("header").dataset.busy === "1";
  if (busy && !source) {
    source = new EventSource("/progress");
    source.onmessage = (event) => {
      clearInterval(unheard);
      tell(JSON.parse(event.data));
    };
    unheard = setInterval(() => sending || refresh(), 3000); // for a proxy that holds the events back
  } else if (!busy && source) {
    source.close();
    source = null;
    clearInterval(unheard);
    progress.hidden = true;
  }
}

function tell({ busy, done, total }) {
  progress.hidden = !busy;
  const bar = document.getElementById("bar");
  if (total) {
    bar.max = total;
    bar.value = done;
  } else bar.removeAttribute("value");
  document.getElementById("said").textContent = busy ? (total ? `measuring, ${done} of ${total} images` : "working") : "";
  if (!busy && !sending) refresh(); // what another tab, or this one before it was reloaded, has begun is done
}

async function refresh() {
  document.querySelector("header").dataset.busy = "0";
  follow();
  const answer = await fetch("/", { headers: { "X-Part": "1" } });
  if (answer.ok && !sending) show(await answer.text());
  follow();
}

follow();
