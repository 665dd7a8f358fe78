/**
 * The shop itself: account, ticket, extras and cart.
 *
 * @module
 */

import { drawKey } from "./api.js";
import { at, button, icon, make, say } from "./dom.js";
import { left, span } from "./words.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").Reply} Reply */
/** @typedef {import("./api.js").State} State */

const EXTRAS = [
  { name: "Programme", price: 6, icon: "M5 4h6a2 2 0 0 1 1 .5A2 2 0 0 1 13 4h6v14h-6l-1 1-1-1H5zM12 5v13" },
  { name: "Opera glasses", price: 9, icon: "M6 7h4l1 3h2l1-3h4l2 8a3 3 0 0 1-6 1l-.5-3h-3L10 16a3 3 0 0 1-6-1zM7 5h2v2M15 5h2v2" },
  { name: "Lemonade", price: 4, icon: "M7 8h10l-1.2 12H8.2zM7.5 12h9M13 8l2-5h2" },
  { name: "Cloakroom tag", price: 2, icon: "M4 18h16L12 12zM12 12V10a2.5 2.5 0 1 0-2.5-2.5" },
];
const PAID = /^Ticket: (.*) \(paid\)$/;

/**
 * @param {State | null} state
 * @param {string} name
 * @returns {any}
 */
function valueOf(state, name) {
  return state?.attributes.find((attribute) => attribute.name === name)?.value;
}

/**
 * @param {State | null} state
 * @returns {string[]}
 */
function cartOf(state) {
  const cart = valueOf(state, "cart");
  return Array.isArray(cart) ? cart.map(String) : [];
}

/** Events: `bought` (a ticket was spent), `leaving` (we are about to end the session), then `left` or `stayed`. */
export class BoxOffice extends EventTarget {
  #api;
  /** Runs before a purchase. */
  #beforeBuying;
  /** @type {State | null} */
  #state = null;
  /** The key of a purchase whose outcome is not known yet. */
  #purchase = "";
  /** Steps that are under way or wait. */
  #steps = 0;
  #last = Promise.resolve();
  /** Who was logged in until the login expired. */
  #expired = "";
  #lastUser = "";

  /**
   * @param {Api} api
   * @param {() => Promise<void>} beforeBuying
   */
  constructor(api, beforeBuying) {
    super();
    this.#api = api;
    this.#beforeBuying = beforeBuying;
    at("items").replaceChildren(...EXTRAS.map((extra) => this.#item(extra)));
    at("login").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#act(() => this.#login());
    });
    for (const id of ["logout", "end"]) this.#onClick(id, () => this.#logout());
    this.#onClick("reserve", () => this.#reserve());
    for (const id of ["buy", "again"]) this.#onClick(id, () => this.#buy());
  }

  /**
   * @param {State} state
   * @param {{ended: boolean}} how
   */
  show(state, { ended }) {
    this.#noticeExpiry(state, ended);
    this.#state = state;
    this.#showAccount(state);
    this.#showTicket(state);
    this.#showCart(state);
  }

  /**
   * @param {number} now The server's time.
   * @returns {boolean} whether something has run out, so that the state is old
   */
  tick(now) {
    const rest = (/** @type {string} */ name) => {
      const found = this.#state?.attributes.find((attribute) => attribute.name === name);
      return found ? { ms: Date.parse(found.expires) - now, whole: Date.parse(found.expires) - Date.parse(found.issued) } : null;
    };
    const login = rest("login");
    if (login) {
      say(at("lease"), login.ms > 0 ? `logged in for ${left(login.ms)}` : "login ends now");
      at("lease-bar").style.setProperty("--rest", String(Math.max(0, Math.min(1, login.ms / Math.max(1, login.whole)))));
    }
    const ticket = rest("ticket");
    if (ticket) say(at("ticket-more"), `Held for you for ${left(ticket.ms)}. It can be used once.`);
    return [login, ticket].some((one) => one !== null && one.ms < -100);
  }

  /**
   * Says how the visitor's last step went.
   *
   * @param {string} text
   * @param {"good" | "bad" | "plain"} [kind]
   */
  tell(text, kind = "plain") {
    at("outcome").dataset.kind = kind;
    say(at("outcome"), text);
  }

  /**
   * Runs a step at each click; the second click of two is meant for the button that was there before.
   *
   * @param {string} id
   * @param {() => Promise<void>} step
   */
  #onClick(id, step) {
    button(id).addEventListener("click", (event) => {
      if (event.detail < 2) void this.#act(step);
    });
  }

  /**
   * Runs one step at a time. Without `queue`, a click while a step is under way does nothing.
   *
   * @param {() => Promise<void>} step
   * @param {{queue?: boolean}} [how]
   */
  async #act(step, { queue = false } = {}) {
    if (this.#steps > 0 && !queue) return;
    document.body.classList.toggle("busy", ++this.#steps > 0);
    this.#last = this.#last.then(step).catch((error) => this.tell(`Something went wrong: ${error.message}`, "bad"));
    await this.#last;
    document.body.classList.toggle("busy", --this.#steps > 0);
  }

  /**
   * @param {string} path
   * @param {Omit<import("./api.js").Call, "method">} [call]
   */
  #post(path, call = {}) {
    return this.#api.call(path, { method: "POST", body: {}, ...call });
  }

  async #login() {
    const user = /** @type {HTMLInputElement} */ (at("user")).value.trim();
    if (user === "") return;
    const reply = await this.#post("/api/login", { body: { user } });
    if (reply.ok) this.#expired = "";
    this.#report(reply, `Welcome, ${user}.`);
    if (reply.ok) at("account").focus({ preventScroll: true });
  }

  async #logout() {
    this.dispatchEvent(new Event("leaving"));
    const reply = await this.#post("/api/logout", { last: true });
    this.dispatchEvent(new Event(reply.ok ? "left" : "stayed"));
    this.#report(reply, "Your session has ended, on all servers. What the browser held is worthless now.");
  }

  async #reserve() {
    const before = this.#ticketIssued(this.#state);
    const reply = await this.#post("/api/ticket", { done: (state) => ![null, before].includes(this.#ticketIssued(state)) });
    this.#purchase = "";
    this.#report(reply, `Reserved: ${valueOf(reply.state, "ticket")?.seat ?? "a seat"}.`);
  }

  /** @param {State | null} state */
  #ticketIssued(state) {
    return state?.attributes.find(({ name }) => name === "ticket")?.issued ?? null;
  }

  async #buy() {
    const had = valueOf(this.#state, "ticket") !== undefined;
    if (had) await this.#beforeBuying();
    this.#purchase ||= drawKey();
    const reply = await this.#post("/api/buy", { headers: { "Idempotency-Key": this.#purchase } });
    if (reply.state) this.#purchase = "";
    if (reply.ok) {
      this.dispatchEvent(new Event("bought"));
      this.tell(`Bought: ${reply.result?.seat ?? "your seat"} is yours. The right to buy it is spent, on every server.`, "good");
    } else if (reply.repeated && had && reply.state) {
      this.dispatchEvent(new Event("bought"));
      this.tell("The answer to your purchase was lost with the server, and the ticket is spent: the purchase stands.", "good");
    } else {
      this.tell(`Refused: ${reply.error}`, "bad");
    }
  }

  /**
   * @param {Reply} reply
   * @param {string} success
   */
  #report(reply, success) {
    if (reply.ok) this.tell(success, "good");
    else this.tell(reply.error, "bad");
  }

  /** @param {string} item */
  async #add(item) {
    const before = cartOf(this.#state).length;
    const reply = await this.#post("/api/cart", { body: { item }, done: (state) => cartOf(state).length > before });
    this.#report(reply, `${item} is in your cart.`);
  }

  /** @param {{name: string, price: number, icon: string}} extra */
  #item(extra) {
    const add = make("button", { class: "add", type: "button", "aria-label": `Add ${extra.name} to the cart, ${extra.price} euros` }, "Add");
    add.addEventListener("click", () => this.#act(() => this.#add(extra.name), { queue: true }));
    return make("li", {}, icon(extra.icon), make("span", { class: "item-name" }, extra.name), make("span", { class: "price" }, `€${extra.price}`), add);
  }

  /**
   * @param {State} state
   * @param {boolean} ended
   */
  #noticeExpiry(state, ended) {
    const user = valueOf(state, "login");
    if (typeof user === "string") {
      this.#lastUser = user;
      this.#expired = "";
    } else {
      if (this.#lastUser !== "" && !ended) this.#expired = this.#lastUser;
      if (ended) this.#expired = "";
      this.#lastUser = "";
    }
  }

  /** @param {State} state */
  #showAccount(state) {
    const user = valueOf(state, "login");
    const inside = typeof user === "string";
    const lost = at("greeting").contains(document.activeElement);
    at("login").hidden = inside;
    at("greeting").hidden = !inside;
    if (inside) say(at("who"), user);
    else if (lost) at("user").focus({ preventScroll: true });
    const ttl = state.rules.find(({ name }) => name === "login")?.ttl ?? 0;
    let note = `A login lasts ${span(ttl)}. The cart needs none.`;
    if (this.#expired !== "") note = `${this.#expired}’s login has expired after ${span(ttl)}, as its rule says. The cart stays.`;
    else if (inside) note = `It lapses after ${span(ttl)}, also if a server dies meanwhile.`;
    at("account-note").classList.toggle("expired", this.#expired !== "");
    say(at("account-note"), note);
  }

  /** @param {State} state */
  #showTicket(state) {
    const seat = valueOf(state, "ticket")?.seat;
    const paid = cartOf(state).map((item) => PAID.exec(item)?.[1]).findLast(Boolean);
    const phase = seat ? "reserved" : paid ? "paid" : "none";
    const had = at("ticket").contains(document.activeElement);
    at("ticket").dataset.state = phase;
    say(at("ticket-kind"), phase === "none" ? "Admit one" : "Admit one · stalls");
    say(at("ticket-seat"), capital(seat ?? paid ?? "No seat yet"));
    if (phase === "none") say(at("ticket-more"), "A reservation is a right that can be used once.");
    if (phase === "paid") say(at("ticket-more"), "The right to buy it is spent, on every server.");
    button("buy").hidden = phase !== "reserved";
    button("again").hidden = phase !== "paid";
    say(button("reserve"), phase === "none" ? "Reserve a seat" : "Another seat");
    button("reserve").classList.toggle("quiet", phase !== "none");
    const focused = document.activeElement;
    if (had && (!focused || focused === document.body)) button(phase === "reserved" ? "buy" : "reserve").focus({ preventScroll: true });
  }

  /** @param {State} state */
  #showCart(state) {
    const cart = cartOf(state);
    /** @type {Map<string, number>} */
    const lines = new Map();
    for (const item of cart) lines.set(item, (lines.get(item) ?? 0) + 1);
    const prices = new Map(EXTRAS.map(({ name, price }) => [name, price]));
    at("cart").replaceChildren(
      ...[...lines].map(([name, count]) => {
        const price = prices.get(name);
        return make("li", {}, make("span", { class: "line-name" }, name), make("span", { class: "times" }, count > 1 ? `× ${count}` : ""), make("span", { class: "price" }, price ? `€${price * count}` : ""));
      }),
    );
    at("cart-empty").hidden = cart.length > 0;
    say(at("cart-count"), cart.length > 0 ? String(cart.length) : "");
  }
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
