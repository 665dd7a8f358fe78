// The published Faye client in a page.
import { Control } from "./control.js";
import { Scenario } from "./faye-scenario.js";

const query = new URLSearchParams(location.search);
const control = new Control("");
try {
  const transport = String(query.get("transport"));
  // From another origin Faye does not speak long-polling.
  const url = transport === "long-polling" ? `${location.origin}/bayeux` : String(query.get("url"));
  const scenario = new Scenario(/** @type {any} */ (window).Faye, control, url, transport);
  await scenario.handshake();
  await scenario.messages();
  await scenario.failures();
  document.title = "done";
} catch (error) {
  await control.fail(error);
  document.title = "failed";
}
