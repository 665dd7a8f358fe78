/**
 * The two panels that look behind the scenes: the session on the server, and what the browser holds of it.
 *
 * @module
 */

import { at, button, make, phrase, say } from "./dom.js";
import { age, bytes, left, shorten, span, version } from "./words.js";

/** @typedef {import("./api.js").State} State */
/** @typedef {import("./api.js").Attribute} Attribute */
/** @typedef {import("./api.js").Rule} Rule */
/** @typedef {{gen: string, manifest: string, blobs: Readonly<Record<string, string>>, receivedAt: number}} Held */

/** @type {Record<string, string>} */
const TITLES = { login: "Login", cart: "Cart", ticket: "Ticket" };
const MIN_ROWS = 4;

/** @param {Rule} rule */
function ruleText(rule) {
  const life = rule.ttl > 0 ? `lives ${span(rule.ttl)}` : "lives with the session";
  return rule.once ? `${life}, can be used once` : life;
}

/** @param {unknown} value */
function valueText(value) {
  if (Array.isArray(value)) return `${value.length} ${value.length === 1 ? "item" : "items"}: ${value.join(", ")}`;
  if (typeof value === "object" && value !== null) return Object.values(value).join(", ");
  return String(value);
}

/** "Your session, on the server". */
export class SessionPanel {
  /** @type {State | null} */
  #state = null;

  /** @param {State} state */
  show(state) {
    this.#state = state;
    const exists = Boolean(state.session);
    phrase(at("session-where"), exists ? `Session ${state.session}… lives in the memory of ${state.node}.` : "There is none yet. It begins with your first change.");
    button("end").disabled = !exists;
    at("facts").replaceChildren(...state.rules.flatMap((rule) => this.#row(rule, state.attributes)));
  }

  /**
   * @param {Rule} rule
   * @param {Attribute[]} attributes
   */
  #row(rule, attributes) {
    const attribute = attributes.find(({ name }) => name === rule.name);
    const value = attribute ? valueText(attribute.value) : "–";
    return [
      make(
        "div",
        { class: attribute ? "fact" : "fact absent" },
        make("dt", {}, TITLES[rule.name] ?? rule.name, rule.once ? make("span", { class: "once" }, "once") : ""),
        make("dd", { class: "value", title: value }, value),
        make("dd", { class: "left", "data-expires": attribute?.expires }),
        make("dd", { class: "rule" }, ruleText(rule)),
      ),
    ];
  }

  /** @param {number} now The server's time. */
  tick(now) {
    for (const element of at("facts").querySelectorAll(".left")) {
      const { expires } = /** @type {HTMLElement} */ (element).dataset;
      say(element, expires ? `${left(Date.parse(expires) - now)} left` : "");
    }
    const ends = this.#state?.session ? `Ends in ${left(Date.parse(this.#state.expires) - now)} at the latest.` : "Nothing is stored anywhere yet.";
    say(at("session-end"), ends);
  }
}

/** "What this browser holds". */
export class HeldPanel {
  /**
   * When this page first saw an envelope, by its last characters, which are its authentication tag.
   *
   * @type {Map<string, number>}
   */
  #seen = new Map();

  /** @param {Held | null} held */
  show(held) {
    const rows = held ? [...Object.entries(held.blobs).sort(([a], [b]) => (a < b ? -1 : 1)), ["manifest", held.manifest]] : [];
    this.#remember(rows, held?.receivedAt ?? 0);
    say(at("held-version"), held ? `${version(held.gen)} (version ${held.gen}).` : "Nothing.");
    say(at("held-total"), bytes(rows.reduce((sum, [slot, text]) => sum + text.length + (slot === "manifest" ? 0 : slot.length), 0)));
    const blank = Array.from({ length: Math.max(0, MIN_ROWS - rows.length) }, () => make("tr", { class: "blank", "aria-hidden": "true" }, make("td", { colspan: "4" }, "\u00a0")));
    const known = new Set([...at("blobs").querySelectorAll("tr")].map((row) => row.dataset.tag));
    at("blobs").replaceChildren(...rows.map(([slot, text]) => this.#row(slot, text, known)), ...blank);
  }

  /**
   * @param {string} slot
   * @param {string} text
   * @param {Set<string | undefined>} known
   */
  #row(slot, text, known) {
    const tag = tagOf(text);
    const fresh = known.size > 0 && !known.has(tag);
    return make(
      "tr",
      { class: `${slot === "manifest" ? "manifest" : "blob"}${fresh ? " fresh" : ""}`, "data-tag": tag },
      make("th", { scope: "row" }, slot),
      make("td", { class: "text" }, shorten(text)),
      make("td", { class: "num" }, bytes(text.length)),
      make("td", { class: "num age" }, age(Date.now() - (this.#seen.get(tag) ?? Date.now()))),
    );
  }

  /**
   * @param {string[][]} rows
   * @param {number} received
   */
  #remember(rows, received) {
    const seen = new Map();
    for (const [, text] of rows) seen.set(tagOf(text), this.#seen.get(tagOf(text)) ?? received);
    this.#seen = seen;
  }

  tick() {
    for (const row of at("blobs").querySelectorAll("tr[data-tag]")) {
      const since = this.#seen.get(/** @type {HTMLElement} */ (row).dataset.tag ?? "");
      const cell = row.querySelector(".age");
      if (cell && since !== undefined) say(cell, age(Date.now() - since));
    }
  }
}

/** @param {string} envelope */
function tagOf(envelope) {
  return envelope.slice(-12);
}
