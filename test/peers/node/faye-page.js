// The published Faye client in a page.
import { Control } from "./control.js";
import { Scenario } from "./faye-scenario.js";

const query = new URLSearchParams(location.search);
const control = new Control("");
try {
  const scenario = new Scenario(/** @type {any} */ (window).Faye, control, String(query.get("url")), String(query.get("transport")));
  await scenario.handshake();
  await scenario.messages();
  await scenario.failures();
  document.title = "done";
} catch (error) {
  await control.fail(error);
  document.title = "failed";
}
