// The published CometD server for Node.js: PORT.
import { createRequire } from "node:module";
import { HOLD, denied, serve } from "./server.js";

const require = createRequire(import.meta.url);
const { createCometDServer } = require("cometd-nodejs-server");
const { AcknowledgedMessagesExtension } = require("cometd-nodejs-server/ack-extension.js");

await serve(() => {
  const server = createCometDServer({ timeout: HOLD * 1000, maxInterval: 5000 });
  const sessions = new Set();
  server.addListener("sessionAdded", (session) => sessions.add(session.id));
  server.addListener("sessionRemoved", (session) => sessions.delete(session.id));
  server.addExtension(new AcknowledgedMessagesExtension());
  const may = (channel, answer) => answer(undefined, !denied(channel));
  server.policy = {
    canSubscribe: (session, message, channel, answer) => may(channel.name, answer),
    canPublish: (session, message, channel, answer) => may(channel.name, answer),
  };
  const publish = (channel, data) => server.createServerChannel(channel).publish(null, data);
  server.createServerChannel("/peers/up").addListener("message", (session, channel, message, next) => {
    publish("/peers/down", message.data);
    next();
  });
  server.createServerChannel("/service/echo").addListener("message", (session, channel, message, next) => {
    session.deliver(null, channel.name, message.data);
    next();
  });
  return {
    attach: (http) => http.on("request", server.handle),
    publish,
    sessions: () => sessions.size,
  };
});
