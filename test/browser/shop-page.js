/**
 * The shop's page, as a visitor uses it.
 *
 * @module
 */

import { PATIENCE, until } from "./support.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").BrowserContext} BrowserContext */

const RECORD = "sealed-blob/v1/shop";

export class Shop {
  /**
   * What went wrong, as the browser says.
   *
   * @type {string[]}
   */
  complaints = [];
  page;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("pageerror", (error) => this.complaints.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(`${message.type()}: ${message.text()}`);
    });
  }

  /**
   * @param {BrowserContext} context
   * @param {string} url
   */
  static async open(context, url) {
    const shop = new Shop(await context.newPage());
    await shop.page.goto(url);
    await shop.connected();
    return shop;
  }

  connected() {
    return this.page.waitForSelector('#link[data-state="connected"]');
  }

  /** @param {string} user */
  async login(user) {
    await this.page.fill("#user", user);
    await this.page.click("#login button");
    await this.page.waitForSelector("#greeting:not([hidden])");
  }

  /** @param {...string} items */
  async add(...items) {
    for (const item of items) {
      const before = await this.size();
      await this.page.click(`.items li:has-text("${item}") .add`);
      await until(`${item} in the cart`, async () => (await this.size()) > before);
    }
    await this.sealed();
  }

  async size() {
    return Number((await this.page.textContent("#cart-count")) || 0);
  }

  /** @returns {Promise<string[]>} */
  async cart() {
    return this.page.$$eval("#cart li", (lines) => lines.map((line) => [...line.querySelectorAll(".line-name, .times")].map((part) => part.textContent).join("")));
  }

  async reserve() {
    await this.page.click("#reserve");
    await this.page.waitForSelector("#buy:not([hidden])");
    await this.sealed();
    return this.text("#ticket-seat");
  }

  async buy() {
    await this.page.click("#buy");
    await this.page.waitForSelector('#outcome[data-kind="good"]:has-text("Bought")');
    await this.sealed();
  }

  /** Waits until the browser holds what the server has: the very version, and a blob for each attribute. */
  async sealed() {
    await until("the newest set in the browser", async () => {
      const { version, attributes } = await this.state();
      const held = await this.held();
      return held !== null && held.gen === version && Object.keys(held.blobs).length === attributes.length;
    });
  }

  /** What the server says; read with the page's own cookies. */
  async state() {
    return this.page.evaluate(async () => {
      const response = await fetch("/api/state");
      if (!response.ok) throw new Error(String(response.status));
      return (await response.json()).state;
    });
  }

  /** What the browser holds. @returns {Promise<{gen: string, manifest: string, blobs: Record<string, string>} | null>} */
  async held() {
    return this.page.evaluate((key) => JSON.parse(localStorage.getItem(key) ?? "null"), RECORD);
  }

  /** The beginning of the session's id, as shown; empty if there is no session. */
  async session() {
    return /Session (\S+)… lives/.exec(await this.text("#session-where"))?.[1] ?? "";
  }

  /** The node that has the session, as shown. */
  async node() {
    return this.text("#rail .here b");
  }

  /** @param {string} selector */
  async text(selector) {
    return (await this.page.textContent(selector)) ?? "";
  }

  /** Kills the node in use. */
  async kill() {
    await this.page.waitForSelector("#act-kill:not([aria-disabled])");
    await this.page.click("#act-kill");
  }

  /** @param {string} from The node that had the session before. */
  async moved(from) {
    await until(`the move away from ${from}`, async () => (await this.node()) !== from && (await this.session()) !== "");
    await this.connected();
    return this.node();
  }

  /** @param {"replay" | "flip" | "mix" | "omit"} kind */
  async attack(kind) {
    await this.page.waitForSelector(`#act-${kind}:not([aria-disabled])`);
    await this.page.click(`#act-${kind}`);
    await this.page.waitForSelector(`#verdict-${kind}:is([data-kind="refused"], [data-kind="warn"], [data-kind="broken"])`);
    return { kind: await this.page.getAttribute(`#verdict-${kind}`, "data-kind"), text: await this.text(`#verdict-${kind}`) };
  }
}
