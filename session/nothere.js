const { modules, store } = document.currentScript.dataset;
const find = (id) => document.getElementById(id);
const KEY = "sealed-not-here";

// How often this address was loaded in vain, lately. Who can't remember does not try by himself.
function tries() {
  try {
    const { at, count } = JSON.parse(sessionStorage.getItem(KEY)) ?? {};
    const next = Date.now() - at < 60_000 ? count + 1 : 1;
    sessionStorage.setItem(KEY, JSON.stringify({ at: Date.now(), count: next }));
    return next;
  } catch {
    return Infinity;
  }
}

// Brings the set that the page's other documents keep. Says whether to load the page again.
async function restore() {
  const { BlobStore, SealedHTTP } = await import(new URL(modules + "index.js", location.href).href);
  const answer = await new SealedHTTP(new BlobStore({ key: store })).restore();
  return answer !== null && (answer.state === "restored" || answer.gen !== null);
}

function offer() {
  find("what").textContent = "Your session could not be found. It may come back if you load this page again later. You can also begin anew, without it.";
  find("anew").hidden = false;
}

find("anew").onclick = async () => {
  await fetch(location.href, { headers: { "Sealed-Session": "none" }, cache: "no-store", redirect: "manual" });
  sessionStorage.removeItem(KEY);
  location.reload();
};

const tried = tries();
if (tried > 3) {
  offer();
} else {
  find("what").textContent = "Your session is on its way to this server. One moment …";
  const brought = modules ? restore().catch(() => false) : Promise.resolve(false);
  brought.then((there) => setTimeout(() => location.reload(), there ? 0 : 1000));
}
