// Keeps open pages up to date, asks for a reason before anything is switched, and makes pages work by keyboard.
"use strict";

const PERIOD_MS = 2000;
const byId = (id) => document.getElementById(id);
const ask = byId("ask");
const keys = byId("keys");
const shown = new Map();
let tag = "";
let asked = null;

// --- What changes by itself. The page's address is its whole state, so the same address is asked for again and only
// the sections that differ are put in place; what a person has opened, focused or selected there stays as it was.

async function refresh() {
  try {
    const headers = { "x-tutelage-part": "1", ...(tag && { "if-none-match": tag }) };
    const response = await fetch(location.href, { headers, cache: "no-store" });
    if (response.status === 401 || response.redirected) return location.reload();
    if (response.status === 200) {
      tag = response.headers.get("etag") ?? "";
      show(await response.text());
    } else if (response.status >= 500) throw new Error(String(response.status));
    byId("as-of").textContent = response.headers.get("x-as-of") ?? "now";
    byId("lost").hidden = true;
  } catch {
    byId("lost").hidden = false;
  }
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const section of fresh.querySelectorAll("[data-live]")) {
    const old = byId(section.id);
    const text = section.outerHTML;
    if (!old || shown.get(section.id) === text || isSelected(old)) continue;
    shown.set(section.id, text);
    replace(old, document.importNode(section, true));
  }
}

function isSelected(element) {
  const selection = getSelection();
  return selection && !selection.isCollapsed && selection.intersectsNode(element.firstChild ?? element);
}

function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const toggled = new Map([...old.querySelectorAll("details[data-key]")].map((one) => [one.dataset.key, one.open]));
  for (const one of fresh.querySelectorAll("details[data-key]")) one.open = toggled.get(one.dataset.key) ?? one.open;
  old.replaceWith(fresh);
  if (focused) fresh.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, PERIOD_MS);
}

// --- What a person changes.

async function send(url, body, method = "POST") {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method, headers, body: JSON.stringify(body) }).catch(() => null);
  if (response?.ok) {
    await refresh();
    return "";
  }
  const answer = response && (await response.json().catch(() => null));
  return answer?.error?.message ?? "The control plane does not answer.";
}

function kept(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(`tutelage.${name}`, value);
    return localStorage.getItem(`tutelage.${name}`) ?? "";
  } catch {
    return value ?? "";
  }
}

const signed = (name) => (name.trim() ? `${name.trim()} (dashboard)` : "dashboard");

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post], button[data-tool]");
  if (!button) return;
  if (button.dataset.tool) openTool(button.dataset);
  else if (button.dataset.say) say(button);
  else openAsk(button);
});

function openAsk(button) {
  asked = button.dataset;
  byId("ask-title").textContent = asked.title;
  byId("ask-text").textContent = asked.text;
  byId("ask-go").textContent = asked.verb;
  byId("ask-reason").value = byId("ask-error").textContent = "";
  const share = byId("ask-share");
  byId("ask-share-row").hidden = share.disabled = asked.share === undefined;
  share.value = asked.share ?? "";
  byId("ask-who").value = kept("who");
  ask.showModal();
  byId("ask-reason").focus();
}

ask.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = kept("who", byId("ask-who").value);
  const body = { reason: byId("ask-reason").value, actor: signed(who), ...(asked.force && { force: true }) };
  const percent = asked.share === undefined ? 0 : byId("ask-share").valueAsNumber;
  if (percent) Object.assign(body, { share: percent / 100, force: percent > Number(asked.allowed) });
  const problem = await send(asked.post, body);
  if (problem) byId("ask-error").textContent = problem;
  else ask.close();
});
byId("ask-cancel").addEventListener("click", () => ask.close());

function openTool(data) {
  asked = data;
  byId("tool-title").textContent = `How ${data.tool} is compared`;
  byId("tool-kind").value = data.kind;
  byId("tool-text").value = data.text;
  byId("tool-ignored").value = data.ignored;
  byId("tool-reason").value = byId("tool-error").textContent = "";
  byId("tool").showModal();
}

byId("tool").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const names = (id) => byId(id).value.split(",").map((name) => name.trim()).filter(Boolean);
  const rule = { kind: byId("tool-kind").value, free_text: names("tool-text"), ignore: names("tool-ignored") };
  const body = { tools: { [asked.tool]: rule }, who: signed(kept("who")), reason: byId("tool-reason").value };
  const problem = await send(asked.put, body, "PUT");
  if (problem) byId("tool-error").textContent = problem;
  else byId("tool").close();
});
byId("tool-cancel").addEventListener("click", () => byId("tool").close());

async function say(button) {
  const who = kept("who", byId("who").value);
  const body = { verdict: button.dataset.say, note: byId("note").value, who: signed(who) };
  const problem = await send(button.dataset.post, body);
  byId("said").textContent = problem || "Noted.";
  byId("said").className = problem ? "bad-text" : "good";
  if (!problem) byId("note").value = "";
}

// --- The keyboard. Single keys can be switched off, for those whose tools send letters.

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || kept("keys") === "off") return;
  const target = document.querySelector(`[data-keys="${CSS.escape(event.key)}"]`);
  if (target) target.click();
  else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else return;
  event.preventDefault();
});

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)]?.focus();
}

byId("keys-open").addEventListener("click", () => keys.showModal());
byId("keys-close").addEventListener("click", () => keys.close());
byId("keys-on").checked = kept("keys") !== "off";
byId("keys-on").addEventListener("change", (event) => kept("keys", event.target.checked ? "on" : "off"));
if (byId("who")) byId("who").value = kept("who");

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
for (const section of document.querySelectorAll("[data-live]")) shown.set(section.id, section.outerHTML);
setTimeout(loop, PERIOD_MS);
