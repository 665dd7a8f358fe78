/**
 * The controls of the demonstration: they exist only where the server offers them.
 *
 * @module
 */

import { FLUSH } from "./attacker.js";
import { at, icon, make, phrase, say } from "./dom.js";

/** @typedef {import("./attacker.js").Attacker} Attacker */
/** @typedef {import("./attacker.js").SealedSet} SealedSet */
/** @typedef {{name: string, up: boolean, current: boolean}} Server */
/** @typedef {"flip" | "mix" | "omit" | "replay"} Kind */
/** @typedef {{node: string, state: string, reason: string, dropped: number}} Verdict */
/** @typedef {{button: HTMLButtonElement, outcome: HTMLElement, ready: string}} Act */

const NO_BLOBS = "Not possible yet: this browser holds nothing. Put something in the cart.";

/** @type {{kind: Kind, title: string, label: string, what: string, icon: string}[]} */
const ATTACKS = [
  { kind: "replay", title: "Use the ticket twice", label: "Replay the set", what: "Present the sealed set from before you bought: it still contains the ticket.", icon: "M4 12a8 8 0 1 0 3-6.2M4 4v4h4" },
  { kind: "flip", title: "Change one bit", label: "Flip a bit", what: "Change a single bit of one blob and present the set.", icon: "M5 7h10M12 4l3 3-3 3M19 17H9M12 14l-3 3 3 3" },
  { kind: "mix", title: "Mix two generations", label: "Mix them", what: "Put one older blob, perfectly genuine, into the newest set.", icon: "M4 7h3c5 0 5 10 10 10h3M4 17h3c5 0 5-10 10-10h3M17.5 4.5 20 7l-2.5 2.5M17.5 14.5 20 17l-2.5 2.5" },
  { kind: "omit", title: "Leave one out", label: "Leave one out", what: "Drop one blob, say the one you like least, and present the rest.", icon: "M5 5h6v6H5zM13 13h6v6h-6zM5 13h6v6H5zM14 6l4 4M18 6l-4 4" },
];
const KILL_ICON = "M13 3 5 14h6l-1 7 8-11h-6z";

/** Events: `servers` (detail: {@link Server}[]) and `killed` (detail: the node's name). */
export class Desk extends EventTarget {
  #attacker;
  #held;
  #signedIn;
  /** @type {Map<string, Act>} */
  #acts = new Map();
  /** @type {Server[]} */
  #servers = [];
  #busy = false;
  #polling = 0;

  /**
   * @param {Attacker} attacker
   * @param {() => SealedSet | null} held What the browser holds now.
   * @param {() => boolean} signedIn Whether there is a session, and so a cookie.
   */
  constructor(attacker, held, signedIn) {
    super();
    this.#attacker = attacker;
    this.#held = held;
    this.#signedIn = signedIn;
  }

  /** Shows the controls if the server has them. */
  async open() {
    if (!(await this.refresh())) return;
    at("acts").replaceChildren(
      this.#act("kill", "Kill the server", "Kill", "SIGKILL, no good-bye: its memory is gone. It starts again, empty, some seconds later.", KILL_ICON, () => this.#kill()),
      ...ATTACKS.map(({ kind, title, label, what, icon }) => this.#act(kind, title, label, what, icon, () => this.#attack(kind))),
    );
    at("desk").hidden = false;
    this.update();
  }

  /** Asks which servers are up, and goes on asking while one is down. */
  async refresh() {
    clearTimeout(this.#polling);
    const { ok, body } = await ask("GET", "/demo/status");
    if (ok && Array.isArray(body.nodes)) {
      this.#servers = body.nodes;
      this.dispatchEvent(new CustomEvent("servers", { detail: this.#servers }));
      this.update();
    }
    if (this.#servers.some(({ up }) => !up)) this.#polling = window.setTimeout(() => this.refresh(), 700);
    return ok;
  }

  /** Says what is possible now. */
  update() {
    for (const [kind, act] of this.#acts) {
      const why = kind === "kill" ? this.#whyNotKill() : this.#whyNot(/** @type {Kind} */ (kind));
      act.ready = why;
      if (why === "") act.button.removeAttribute("aria-disabled");
      else act.button.setAttribute("aria-disabled", "true");
      if (act.outcome.dataset.kind === undefined || act.outcome.dataset.kind === "idle") this.#say(kind, why || "Not tried yet.", "idle");
    }
    const kill = this.#acts.get("kill");
    const current = this.#servers.find((server) => server.current);
    if (kill && current) say(kill.button, `Kill ${current.name}`);
  }

  /**
   * @param {string} kind
   * @param {string} title
   * @param {string} label
   * @param {string} what
   * @param {string} path
   * @param {() => Promise<void>} run
   */
  #act(kind, title, label, what, path, run) {
    const control = make("button", { class: kind === "kill" ? "button danger" : "button quiet", type: "button", id: `act-${kind}` }, label);
    const outcome = make("output", { class: "verdict", id: `verdict-${kind}`, for: `act-${kind}` });
    const act = { button: control, outcome, ready: "" };
    this.#acts.set(kind, act);
    control.addEventListener("click", async () => {
      if (this.#busy) return;
      if (act.ready !== "") {
        this.#say(kind, act.ready, "idle");
        return;
      }
      this.#busy = true;
      this.#say(kind, "…", "busy");
      await run();
      this.#busy = false;
    });
    return make("section", { class: `act ${kind}` }, make("h3", {}, icon(path), title), make("p", { class: "what" }, what), control, outcome);
  }

  #whyNotKill() {
    return this.#servers.filter(({ up }) => up).length < 2 ? "Wait for another server to come back first." : "";
  }

  /**
   * @param {Kind} kind
   * @returns {string} empty if it is possible
   */
  #whyNot(kind) {
    const held = this.#held();
    if (kind === "replay") return this.#whyNotReplay();
    if (!held || Object.keys(held.blobs).length === 0) return NO_BLOBS;
    if (kind === "mix" && !this.#attacker.olderThan(held)) return "Not possible yet: it takes two generations of one blob from the same server. Put one more thing in the cart.";
    return "";
  }

  #whyNotReplay() {
    const { captured } = this.#attacker;
    if (!captured) return this.#attacker.hasTicketOf(this.#held()) ? "Captured. Now buy with the ticket, then try to use it again." : "Not possible yet: nothing was captured. Reserve a seat and buy it.";
    if (!this.#signedIn()) return "The session is over and its cookie gone: nobody could present the set.";
    const wait = captured.at + FLUSH - Date.now();
    if (wait <= 0) return "";
    setTimeout(() => this.update(), wait + 10);
    return "In a moment: servers note once a second what browsers hold.";
  }

  async #kill() {
    const { ok, body } = await ask("POST", "/demo/kill");
    if (!ok) {
      this.#say("kill", body.error ?? "That did not work.", "warn");
      await this.refresh();
      return;
    }
    this.#say("kill", `${body.killed} was killed. It comes back in ${body.restarts_in} s.`, "done");
    this.dispatchEvent(new CustomEvent("killed", { detail: body.killed }));
    await this.refresh();
  }

  /** @param {Kind} kind */
  async #attack(kind) {
    const set = this.#held() ?? { gen: "0.0", manifest: "", blobs: {} };
    const older = kind === "replay" ? this.#attacker.captured?.set : kind === "mix" ? this.#attacker.olderThan(set) : null;
    const { ok, body } = await ask("POST", `/demo/attack/${kind}`, { set: wire(set), older: wire(older ?? set) });
    if (ok) this.#judge(kind, /** @type {Verdict} */ (body));
    else this.#say(kind, body.error ?? "The attack could not be carried out.", "warn");
    this.dispatchEvent(new Event("attacked"));
  }

  /**
   * @param {Kind} kind
   * @param {Verdict} verdict
   */
  #judge(kind, { node, state, reason, dropped }) {
    if (state === "refused") {
      this.#say(kind, `${node} refused it.`, "refused", reason);
    } else if (kind === "replay" && dropped > 0) {
      this.#say(kind, `${node} restored the older set, but without the ticket: that is spent.`, "warn", reason);
    } else {
      this.#say(kind, `${node} took it: “${state}”. This should not happen.`, "broken", reason);
    }
  }

  /**
   * @param {string} name
   * @param {string} text
   * @param {string} kind
   * @param {string} [log] The reason, from the server's log.
   */
  #say(name, text, kind, log = "") {
    const outcome = this.#acts.get(name)?.outcome;
    if (!outcome) return;
    outcome.dataset.kind = kind;
    if (outcome.dataset.text === text + log) return;
    outcome.dataset.text = text + log;
    outcome.replaceChildren(said(text), ...(log ? [make("span", { class: "log" }, make("b", {}, "Its log says"), log)] : []));
  }
}

/** @param {string} text */
function said(text) {
  const element = make("span", { class: "said" });
  phrase(element, text);
  return element;
}

/** @param {SealedSet} set */
function wire({ gen, manifest, blobs }) {
  return { gen, manifest, blobs };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<{ok: boolean, body: any}>}
 */
async function ask(method, path, body) {
  try {
    const response = await fetch(path, {
      method,
      cache: "no-store",
      signal: AbortSignal.timeout(15_000),
      ...(body !== undefined && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
    });
    return { ok: response.ok, body: await response.json().catch(() => ({})) };
  } catch {
    return { ok: false, body: { error: "The demonstration does not answer." } };
  }
}
