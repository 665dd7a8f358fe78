/**
 * A server as a program: it says "ready PORT", then answers each line of its standard input.
 *
 * @module
 */

import http from "node:http";
import readline from "node:readline";

/** How long a connect is held, in seconds: a client of a forgotten session learns it soon. */
export const HOLD = 2;

/** @param {string} channel */
export const denied = (channel) => channel.startsWith("/denied/");

/**
 * Serves what `make` makes, and another made in its place when all is to be forgotten.
 *
 * @param {() => {attach: (server: http.Server) => void, publish: (channel: string, data: unknown) => void, sessions: () => number}} make
 */
export async function serve(make) {
  const server = http.createServer();
  const renew = () => {
    server.removeAllListeners("request").removeAllListeners("upgrade");
    const made = make();
    made.attach(server);
    return made;
  };
  let current = renew();
  await new Promise((resolve) => server.listen(Number(process.argv[2]), "127.0.0.1", () => resolve(null)));
  console.log("ready", /** @type {import("node:net").AddressInfo} */ (server.address()).port);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [verb, channel, ...rest] = line.split(" ");
    if (verb === "publish") current.publish(channel, JSON.parse(rest.join(" ")));
    else if (verb === "forget") current = renew();
    else if (verb !== "sessions") throw new Error(`unknown: ${verb}`);
    console.log("done", verb === "sessions" ? current.sessions() : "");
  }
  process.exit(0);
}
