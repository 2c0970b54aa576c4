// Who may come in. A new key's text is shown once.

import { $, call, complaints, el, notice, sure, table, time } from "./api.js";

const HEADS = [["Name", ""], ["Owner", ""], ["May", ""], ["Begins with", ""], ["Made", ""], ["Last used", ""], ["Expires", ""], ["", ""]];

async function refresh() {
  try {
    const { items } = await call("/v1/keys");
    table($("keys"), HEADS, items.map(line), { caption: "Keys" });
  } catch (error) {
    notice(error.message, "error");
  }
}

function line(key) {
  const isOver = key.expires_at && new Date(key.expires_at) < Date.now();
  const revoke = el("button.danger", { type: "button", "aria-label": `Revoke ${key.name}`, onclick: () => end(key) }, "Revoke");
  return [
    key.name,
    key.owner,
    key.scope,
    el("code", {}, `ann_${key.prefix}_`),
    time(key.created_at),
    key.last_used_at ? time(key.last_used_at) : "never",
    key.expires_at ? time(key.expires_at) : "never",
    key.revoked_at ? el("span.faint", {}, "revoked ", time(key.revoked_at)) : isOver ? el("span.faint", {}, "expired") : revoke,
  ];
}

async function end(key) {
  if (!(await sure(`Revoke “${key.name}” of ${key.owner}? It opens nothing from now on.`, "Revoke"))) return;
  try {
    await call(`/v1/keys/${key.id}`, { method: "DELETE" });
  } catch (error) {
    notice(error.message, "error");
  }
  await refresh();
}

$("new").addEventListener("submit", async (event) => {
  event.preventDefault();
  const days = $("days").value;
  const asked = { name: $("name").value, owner: $("owner").value, scope: $("scope").value, ...(days ? { expires_days: Number(days) } : {}) };
  $("mistakes").replaceChildren();
  $("make").disabled = true;
  try {
    const made = await call("/v1/keys", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
    $("made").hidden = false;
    $("text").textContent = made.key;
    $("text").focus();
    event.target.reset();
  } catch (error) {
    $("mistakes").replaceChildren(...complaints(error));
  } finally {
    $("make").disabled = false;
  }
  await refresh();
});

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("text").textContent);
    notice("Copied.");
  } catch {
    // The clipboard is closed to pages on plain HTTP.
    getSelection().selectAllChildren($("text"));
  }
});

await refresh();
