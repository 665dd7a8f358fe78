// A published Bayeux server for Node.js, with its defaults: node.js faye|cometd. It says
// "ready PORT" and ends with its standard input.
"use strict";

const { createServer } = require("node:http");
const { createRequire } = require("node:module");

const peers = createRequire(require.resolve("../../test/peers/node/package.json"));
const server = createServer();
if (process.argv[2] === "faye") {
  const { NodeAdapter } = peers("faye");
  new NodeAdapter({ mount: "/bayeux", timeout: 30 }).attach(server); // it has no default
} else {
  const { createCometDServer } = peers("cometd-nodejs-server");
  server.on("request", createCometDServer().handle);
}
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log("ready", server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
