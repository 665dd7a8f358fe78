// The published Faye server: PORT.
import faye from "faye";
import { HOLD, denied, serve } from "./server.js";

await serve(() => {
  const bayeux = new faye.NodeAdapter({ mount: "/bayeux", timeout: HOLD });
  const sessions = new Set();
  bayeux.on("handshake", (id) => sessions.add(id));
  bayeux.on("disconnect", (id) => sessions.delete(id));
  bayeux.addExtension({
    incoming(message, pass) {
      const channel = message.subscription ?? message.channel;
      if (denied([channel].flat()[0])) message.error = `403:${channel}:Forbidden channel`;
      pass(message);
    },
  });
  const app = bayeux.getClient();
  app.subscribe("/peers/up", (data) => app.publish("/peers/down", data));
  return {
    attach: (server) => bayeux.attach(server),
    publish: (channel, data) => app.publish(channel, data),
    // The application's own client, too, shook hands.
    sessions: () => sessions.size - 1,
  };
});
