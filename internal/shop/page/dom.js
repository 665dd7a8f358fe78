/**
 * Elements: found, made and filled. Text goes in as text, never as markup.
 *
 * @module
 */

/**
 * Returns the element with the id.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function at(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element;
}

/**
 * Returns the button with the id.
 *
 * @param {string} id
 */
export function button(id) {
  return /** @type {HTMLButtonElement} */ (at(id));
}

/**
 * Makes an element. Children are elements or text.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (typeof value === "string") element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Sets an element's text, and touches nothing if it is there already: a live region would say it again.
 *
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Sets a sentence, with its names such as node-1 kept in one piece at the end of a line.
 *
 * @param {Element} element
 * @param {string} text
 */
export function phrase(element, text) {
  if (element.textContent === text) return;
  const parts = text.split(/(\S*-\S*)/);
  element.replaceChildren(...parts.map((part, i) => (i % 2 === 1 ? make("span", { class: "whole" }, part) : part)));
}

/**
 * Draws a line icon.
 *
 * @param {string} path
 */
export function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
