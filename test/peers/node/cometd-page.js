// The published CometD client in a page, which is loaded twice.
import { Scenario } from "./cometd-scenario.js";
import { Control } from "./control.js";

const query = new URLSearchParams(location.search);
const control = new Control("");
try {
  const scenario = new Scenario(control, String(query.get("url")), String(query.get("transport")));
  const clientId = sessionStorage.getItem("left");
  if (clientId === null) {
    await scenario.handshake();
    await scenario.messages();
    await scenario.extensions();
    sessionStorage.setItem("left", String(await scenario.leave()));
    location.reload();
  } else {
    await scenario.enter(clientId);
    await scenario.idle();
    await scenario.failures();
    document.title = "done";
  }
} catch (error) {
  await control.fail(error);
  document.title = "failed";
}
