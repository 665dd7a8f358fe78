// The published CometD client in Node.js behind a proxy, for test/proxies: URL TRANSPORT. For each session it says
// "through ID" once a message went there and back. It leaves when its standard input ends.
import { adapt } from "cometd-nodejs-client";

/** @type {any} */ (globalThis).window = {};
adapt();
const { CometD } = await import("cometd/cometd.js");

const [url, transport] = process.argv.slice(2);
const cometd = new CometD();
for (const type of cometd.getTransportTypes()) if (type !== transport) cometd.unregisterTransport(type);
cometd.configure({ url, logLevel: "warn", requestHeaders: { "X-User": "cometd" }, backoffIncrement: 100, maxBackoff: 500, maxNetworkDelay: 10_000 });

cometd.addListener("/meta/handshake", (reply) => {
  if (!reply.successful) return;
  const text = `zażółć ${reply.clientId}`;
  cometd.batch(() => {
    cometd.subscribe("/proxies/down", ({ data }) => data === text && console.log(`through ${reply.clientId}`));
    cometd.publish("/proxies/up", text);
  });
});
cometd.handshake();

process.stdin.on("end", () => cometd.disconnect(() => process.exit(0))).resume();
