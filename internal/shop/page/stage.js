/**
 * The top of the page: the servers, which of them has the session, and the moment when it moves.
 *
 * @module
 */

import { at, make, phrase, say } from "./dom.js";

/** @typedef {import("./link.js").LinkState} LinkState */
/** @typedef {{name: string, up: boolean}} Server */

const LINK_TEXT = {
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  restoring: "Restoring your session",
};

/** A state of the connection that lasts shorter than this is not shown. */
const FLICKER = 120;

/** How long the news of a move stays bright. */
const BRIGHT = 9000;

export class Stage {
  /** @type {Server[]} */
  #servers = [];
  #current = "";
  #flicker = 0;
  #bright = 0;

  /**
   * Shows the servers; without a list, those that have answered so far.
   *
   * @param {Server[]} servers
   */
  servers(servers) {
    if (JSON.stringify(servers) === JSON.stringify(this.#servers)) return;
    this.#servers = servers;
    this.#draw();
  }

  /** @param {string} node */
  current(node) {
    if (node === this.#current) return;
    this.#current = node;
    if (!this.#servers.some(({ name }) => name === node)) this.#servers = [...this.#servers, { name: node, up: true }].slice(-3);
    this.#draw();
  }

  /** @param {LinkState} state */
  link(state) {
    clearTimeout(this.#flicker);
    const show = () => {
      at("link").dataset.state = state;
      at("stage").dataset.link = state;
      say(at("link-text"), LINK_TEXT[state]);
      if (state === "restoring") this.#wait("The server does not answer. This browser takes its sealed copy to another one.");
      if (state === "reconnecting") this.#wait("The server does not answer. Looking for another one.");
    };
    if (state === "connected") show();
    else this.#flicker = window.setTimeout(show, FLICKER);
  }

  /**
   * Says what is so in quiet times.
   *
   * @param {string} text
   */
  calm(text) {
    if (this.#bright !== 0) return;
    delete at("stage").dataset.moment;
    phrase(at("moment"), text);
  }

  /** @param {string} text */
  #wait(text) {
    clearTimeout(this.#bright);
    this.#bright = 0;
    at("stage").dataset.moment = "lost";
    phrase(at("moment"), text);
  }

  /**
   * Says that something happened. It stays bright for a while, and readable until something else happens.
   *
   * @param {string} text
   * @param {"moved" | "lost" | "warn"} kind
   */
  moment(text, kind) {
    const stage = at("stage");
    clearTimeout(this.#bright);
    stage.dataset.moment = kind;
    phrase(at("moment"), text);
    stage.classList.remove("flash");
    void stage.offsetWidth; // so that the animation begins anew
    stage.classList.add("flash");
    this.#bright = window.setTimeout(() => {
      delete stage.dataset.moment;
      stage.classList.remove("flash");
      this.#bright = 0;
    }, BRIGHT);
  }

  #draw() {
    const rail = at("rail");
    const known = [...rail.querySelectorAll(".server")].map((element) => element.textContent);
    if (known.join() !== this.#servers.map(({ name }) => name).join()) {
      const bead = rail.querySelector(".bead") ?? make("span", { class: "bead" });
      rail.replaceChildren(...this.#servers.map(({ name }) => make("span", { class: "server" }, make("i"), make("b", {}, name))), bead);
    }
    rail.querySelectorAll(".server").forEach((element, i) => {
      const { name, up } = this.#servers[i];
      element.classList.toggle("down", !up);
      element.classList.toggle("here", name === this.#current);
    });
    const here = this.#servers.findIndex(({ name }) => name === this.#current);
    rail.style.setProperty("--servers", String(Math.max(1, this.#servers.length)));
    rail.style.setProperty("--at", String(Math.max(0, here)));
    rail.classList.toggle("nowhere", here < 0);
  }
}
