// Refreshes the page by replacing one fragment every two seconds, and asks for a reason before a switch is thrown.
"use strict";

const PERIOD_MS = 2000;
const live = document.getElementById("live");
const lost = document.getElementById("lost");
const ask = document.getElementById("ask");
const reason = document.getElementById("ask-reason");
const failure = document.getElementById("ask-error");
let shown = "";
let pending = null;

async function refresh() {
  try {
    const response = await fetch("/fragment", { cache: "no-store" });
    if (!response.ok) throw new Error(String(response.status));
    show(await response.text());
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}

function show(html) {
  if (html === shown) return;
  // A keyboard user must not lose the button under the cursor when the fragment is replaced.
  const key = live.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  live.innerHTML = shown = html;
  if (key) live.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

live.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  pending = button.dataset;
  document.getElementById("ask-title").textContent = pending.title;
  document.getElementById("ask-text").textContent = pending.text;
  document.getElementById("ask-go").textContent = pending.verb;
  reason.value = failure.textContent = "";
  ask.showModal();
  reason.focus();
});

document.getElementById("ask-cancel").addEventListener("click", () => ask.close());

ask.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await fetch(pending.post, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ reason: reason.value, actor: "dashboard" }),
  }).catch(() => null);
  if (response && response.ok) {
    ask.close();
    await refresh();
    return;
  }
  const body = response && (await response.json().catch(() => null));
  failure.textContent = body?.error?.message ?? "The control plane does not answer.";
});

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, PERIOD_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setTimeout(loop, PERIOD_MS);
