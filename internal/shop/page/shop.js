/**
 * The page: puts its parts together, and decides what a new state means.
 *
 * @module
 */

import { Api, pause } from "./api.js";
import { Attacker } from "./attacker.js";
import { BoxOffice } from "./box-office.js";
import { Desk } from "./desk.js";
import { HeldPanel, SessionPanel } from "./insight.js";
import { Link } from "./link.js";
import { Stage } from "./stage.js";

/** @typedef {import("./api.js").Reply} Reply */
/** @typedef {import("./api.js").State} State */

const link = new Link();
const api = new Api(link);
const attacker = new Attacker();
const stage = new Stage();
const sessionPanel = new SessionPanel();
const heldPanel = new HeldPanel();
const office = new BoxOffice(api, capture);
const desk = new Desk(
  attacker,
  () => link.store.snapshot(),
  () => Boolean(latest?.session),
);

/** @type {State | null} */
let latest = null;
let shown = 0;
let skew = 0;
/** Whether we have asked for the end of the session. */
let leaving = false;
/** The node that was killed from this page. */
let killed = "";
/** @type {import("./link.js").LinkState | ""} */
let lastLink = "";
/** What the last handshake was answered, until a state has told the rest. */
let answered = "";

// The state, and what it means.

/** Where the session was when we last looked; also before a reload. */
const trace = {
  key: "second-act/seen",
  /** @returns {{node: string, session: string}} */
  read() {
    try {
      const { node, session } = JSON.parse(sessionStorage.getItem(this.key) ?? "{}");
      return { node: String(node ?? ""), session: String(session ?? "") };
    } catch {
      return { node: "", session: "" };
    }
  },
  /** @param {{node: string, session: string}} seen */
  write(seen) {
    try {
      sessionStorage.setItem(this.key, JSON.stringify(seen));
    } catch {
      // Then a move during a reload goes unmentioned.
    }
  },
};

/** @param {Reply} reply */
function take(reply) {
  const { state, order } = reply;
  if (!state || order < shown) return;
  shown = order;
  skew = reply.skew;
  const before = trace.read();
  const session = state.session ?? "";
  latest = state;
  trace.write({ node: state.node, session });
  const ended = before.session !== "" && session !== before.session;
  stage.current(state.node);
  announce(before, state, ended);
  office.show(state, { ended });
  sessionPanel.show(state);
  tick();
  showHeld();
  if (reply.settled) tellThief(state);
  link.follow(session);
  desk.update();
}

/**
 * @param {{node: string, session: string}} before
 * @param {State} state
 * @param {boolean} ended
 */
function announce(before, state, ended) {
  const moved = before.node !== "" && before.node !== state.node;
  const fate = before.node === killed ? "was killed" : "is gone";
  const session = state.session ?? "";
  if (moved) void desk.refresh();
  if (ended && session === "" && leaving) {
    stage.moment("Logged out. The session is over on every server, and the old blobs are refused everywhere.", "lost");
  } else if (ended) {
    stage.moment(endText(moved ? `${before.node} ${fate}. ` : "", session), "warn");
  } else if (moved && session !== "") {
    const later = link.gap > 0 ? `, ${(link.gap / 1000).toFixed(1)} s later` : "";
    stage.moment(`${before.node} ${fate}. Your session went on at ${state.node}${later}.`, "moved");
  } else if (moved) {
    stage.moment(`${before.node} ${fate}. ${state.node} answers now; you had no session to carry over.`, "lost");
  }
  stage.calm(session === "" ? `${state.node} answers. There is no session yet.` : `Your session lives in the memory of ${state.node}. This browser carries its sealed copy.`);
  if (ended) leaving = false;
  answered = "";
}

/**
 * @param {string} prefix
 * @param {string} session
 */
function endText(prefix, session) {
  if (answered === "refused") return `${prefix}What this browser held was refused; a new session begins.`;
  if (session !== "") return `${prefix}A new session has begun.`;
  return prefix === "" ? "Your session has ended." : `${prefix}This browser held nothing to restore from; a new session begins.`;
}

/** Shows what is held, and lets the thief have it. */
function showHeld() {
  const held = link.store.snapshot();
  heldPanel.show(held);
  if (held) attacker.copy(held);
}

/**
 * Tells the thief what is in the set that is held, if that is what the state tells of.
 *
 * @param {State} state
 */
function tellThief(state) {
  const held = link.store.snapshot();
  if (held && held.gen === state.version) attacker.learn(held, state.attributes.some(({ name }) => name === "ticket"));
}

/** Before a purchase: lets the thief have the set that still contains the ticket. */
async function capture() {
  for (let tries = 0; tries < 10 && !attacker.hasTicketOf(link.store.snapshot()); tries++) {
    await api.state();
    await pause(60);
  }
}

// What the parts tell each other.

let due = 0;
let asking = false;
let again = false;

/** Asks for the state soon; several wishes make one request. */
function refresh(ms = 60) {
  clearTimeout(due);
  due = window.setTimeout(async () => {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    await api.state();
    asking = false;
    if (again) refresh();
    again = false;
  }, ms);
}

api.addEventListener("reply", (event) => take(/** @type {CustomEvent<Reply>} */ (event).detail));
link.addEventListener("state", () => {
  const { state } = link;
  if (state === lastLink) return;
  lastLink = state;
  stage.link(state);
  if (state === "connected") refresh();
  else void desk.refresh();
});
link.addEventListener("answer", (event) => {
  const { state } = /** @type {CustomEvent<import("./link.js").Answer>} */ (event).detail;
  if (state === "retry") return;
  answered = state;
  refresh(0);
});
link.store.addEventListener("change", () => {
  showHeld();
  desk.update();
  refresh();
});
office.addEventListener("bought", () => {
  attacker.spent();
  desk.update();
});
office.addEventListener("leaving", () => {
  leaving = true;
});
office.addEventListener("left", () => {
  link.store.clear();
  link.renew();
  refresh(0);
});
office.addEventListener("stayed", () => {
  leaving = false;
});
desk.addEventListener("servers", (event) => stage.servers(/** @type {CustomEvent<import("./desk.js").Server[]>} */ (event).detail));
desk.addEventListener("killed", (event) => {
  killed = /** @type {CustomEvent<string>} */ (event).detail;
});
desk.addEventListener("attacked", () => refresh());

function tick() {
  const now = Date.now() + skew;
  sessionPanel.tick(now);
  heldPanel.tick();
  if (office.tick(now) && Date.now() - lapsedAt > 1000) {
    lapsedAt = Date.now();
    refresh(0);
  }
}
let lapsedAt = 0;

// The beginning.

showHeld();
const first = api.state();
void desk.open();
await first;
link.start();
setInterval(tick, 250);
