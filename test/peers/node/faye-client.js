// The published Faye client in Node.js: CONTROL URL TRANSPORT.
import faye from "faye";
import { Control } from "./control.js";
import { Scenario } from "./faye-scenario.js";

const [host, url, transport] = process.argv.slice(2);
const control = new Control(host);
const scenario = new Scenario(faye, control, url, transport);
try {
  await scenario.handshake();
  await scenario.messages();
  await scenario.failures();
  process.exit(0);
} catch (error) {
  await control.fail(error);
  process.exit(1);
}
