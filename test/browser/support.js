/**
 * Real processes and a real browser for the tests.
 *
 * @module
 */

import { execFile, spawn } from "node:child_process";
import { accessSync, constants, rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CHROMIUM = process.env.SEALEDBLOB_CHROMIUM ?? "/usr/bin/chromium";

/** How long anything may take before a test gives up. */
export const PATIENCE = 20_000;

/**
 * Ends this test file with one line that says what is missing.
 *
 * @param {string} line
 * @returns {never}
 */
function missing(line) {
  console.error(`browser tests: ${line}`);
  process.exit(1);
}

/**
 * What is to be undone at the end, last first.
 *
 * @type {(() => unknown)[]}
 */
const undo = [];

/**
 * What may not be left behind even if a test file ends early.
 *
 * @type {(() => unknown)[]}
 */
const atExit = [];
process.on("exit", () => atExit.forEach((step) => step()));

/** Ends the processes and removes the files that this module made. */
export async function cleanUp() {
  for (const step of undo.splice(0).reverse()) await step();
}

/** A folder that cleanUp() removes. */
async function folder() {
  const dir = await mkdtemp(join(tmpdir(), "sealedblob-browser-"));
  undo.push(() => rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  atExit.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/**
 * Returns the path of the program under test, built unless SEALEDBLOB_BLOBCTL names it.
 *
 * @returns {Promise<string>}
 */
export async function program() {
  const given = process.env.SEALEDBLOB_BLOBCTL;
  if (given) {
    try {
      accessSync(given, constants.X_OK);
      return given;
    } catch {
      missing(`SEALEDBLOB_BLOBCTL names no program: ${given}`);
    }
  }
  const path = join(await folder(), "blobctl");
  try {
    await run("go", ["build", "-o", path, "./cmd/blobctl"], { cwd: ROOT });
  } catch (error) {
    const { code, stderr } = /** @type {{code?: unknown, stderr?: string}} */ (error);
    missing(code === "ENOENT" ? "go is not installed" : `go build failed: ${String(stderr).trim().split("\n").slice(0, 3).join(" | ")}`);
  }
  return path;
}

/** Starts the browser, with a profile of its own. */
export async function browser() {
  try {
    accessSync(CHROMIUM, constants.X_OK);
  } catch {
    missing(`${CHROMIUM} is missing: install the package chromium, or name it in SEALEDBLOB_CHROMIUM`);
  }
  const started = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  undo.push(() => started.close());
  return started;
}

/**
 * Starts a program and returns it with its first line.
 *
 * @param {string} path
 * @param {string[]} args
 */
async function start(path, args) {
  const child = spawn(path, args, { stdio: ["ignore", "pipe", "pipe"] });
  const gone = new Promise((resolve) => child.once("exit", resolve));
  atExit.push(() => child.kill("SIGKILL"));
  let log = "";
  child.stderr.on("data", (chunk) => (log += chunk));
  undo.push(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await gone;
  });
  const line = await new Promise((resolve, reject) => {
    let out = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
      if (out.includes("\n")) resolve(out.split("\n")[0]);
    });
    gone.then(() => reject(new Error(`${args[0]} ended at once: ${log}`)));
  });
  return { child, gone, line: String(line).trim(), log: () => log };
}

/**
 * Starts the demonstration and returns its URL.
 *
 * @param {string} path
 */
export async function demo(path) {
  return (await start(path, ["demo"])).line;
}

/** @typedef {{name: string, port: number, kill: () => Promise<void>, log: () => string}} Node */

/**
 * Starts three nodes with one keyring, one policy and one replay store.
 *
 * @param {string} path
 * @param {object} policy
 */
export async function nodes(path, policy) {
  const dir = await folder();
  await run(path, ["keyring", "init", "--dir", join(dir, "keys")]);
  await writeFile(join(dir, "policy.json"), JSON.stringify(policy));
  const common = ["--listen", "127.0.0.1:0", "--keyring", join(dir, "keys"), "--policy", join(dir, "policy.json"), "--replay", `file:${join(dir, "replay")}`];
  return Promise.all(
    ["one", "two", "three"].map(async (name) => {
      const { child, gone, line, log } = await start(path, ["serve", "--name", name, ...common]);
      const kill = async () => {
        child.kill("SIGKILL");
        await gone;
      };
      return /** @type {Node} */ ({ name, port: Number(new URL(line).port), kill, log });
    }),
  );
}

/**
 * A small balancer: all go to one node until it cannot be reached, then to the next. It also serves the test's own files.
 */
export class Front {
  #nodes;
  #files;
  #current = 0;
  #server = http.createServer((request, response) => void this.#answer(request, response));

  /**
   * @param {Node[]} nodes
   * @param {Record<string, string>} [files] Folders or files, by the beginning of the path.
   */
  constructor(nodes, files = {}) {
    this.#nodes = nodes;
    this.#files = files;
    this.#server.on("upgrade", (request, socket, head) => void this.#upgrade(request, /** @type {net.Socket} */ (socket), head));
  }

  /** @returns {Promise<string>} the URL */
  async listen() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", () => resolve(null)));
    undo.push(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
    const { port } = /** @type {net.AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${port}/`;
  }

  /** @param {string} name */
  node(name) {
    const found = this.#nodes.find((node) => node.name === name);
    if (!found) throw new Error(`no node ${name}`);
    return found;
  }

  async #dial() {
    for (const _ of this.#nodes) {
      const at = this.#current;
      const socket = net.connect(this.#nodes[at].port, "127.0.0.1");
      const connected = await new Promise((resolve) => {
        socket.once("connect", () => resolve(true));
        socket.once("error", () => resolve(false));
      });
      if (connected) return socket;
      if (this.#current === at) this.#current = (at + 1) % this.#nodes.length;
    }
    return null;
  }

  /**
   * @param {http.IncomingMessage} request
   * @param {http.ServerResponse} response
   */
  async #answer(request, response) {
    const path = new URL(request.url ?? "/", "http://front").pathname;
    const prefix = Object.keys(this.#files).find((one) => path.startsWith(one));
    if (prefix !== undefined) return serveFile(this.#files[prefix] + path.slice(prefix.length), response);
    await this.#forward(request, response, request.method === "GET");
    return undefined;
  }

  /**
   * @param {http.IncomingMessage} request
   * @param {http.ServerResponse} response
   * @param {boolean} again Whether another node may be asked if this one dies before it answers.
   */
  async #forward(request, response, again) {
    const socket = await this.#dial();
    if (!socket) return void response.writeHead(502).end();
    const onward = http.request({ createConnection: () => socket, method: request.method, path: request.url, headers: { ...request.headers, connection: "close" } });
    const fail = () => {
      if (response.headersSent) response.destroy();
      else if (again) void this.#forward(request, response, false);
      else response.writeHead(502).end();
    };
    onward.on("error", fail);
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on("error", fail).pipe(response);
    });
    response.on("close", () => socket.destroy());
    request.pipe(onward);
    return undefined;
  }

  /**
   * @param {http.IncomingMessage} request
   * @param {net.Socket} socket
   * @param {Buffer} head
   */
  async #upgrade(request, socket, head) {
    socket.on("error", () => {});
    const onward = await this.#dial();
    if (!onward) return socket.destroy();
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
    onward.write(`${lines.join("\r\n")}\r\n\r\n`);
    onward.write(head);
    onward.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    socket.on("close", () => onward.destroy());
    socket.pipe(onward).pipe(socket);
    return undefined;
  }
}

/**
 * @param {string} path
 * @param {http.ServerResponse} response
 */
async function serveFile(path, response) {
  try {
    const type = { ".js": "text/javascript", ".html": "text/html" }[extname(path)] ?? "application/octet-stream";
    const content = await readFile(path);
    response.writeHead(200, { "Content-Type": type }).end(content);
  } catch {
    response.writeHead(404).end();
  }
}

/**
 * Waits until `check` returns something true and returns that; errors count as "not yet".
 *
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} check
 * @param {number} [patience]
 * @returns {Promise<Exclude<T, null | undefined | false | "" | 0>>}
 */
export async function until(what, check, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (let last = ""; ; ) {
    try {
      const value = await check();
      if (value) return /** @type {any} */ (value);
      last = "";
    } catch (error) {
      last = `: ${/** @type {Error} */ (error).message}`;
    }
    if (Date.now() > end) throw new Error(`waited ${patience / 1000} s for ${what}${last}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
