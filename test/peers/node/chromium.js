// Opens a page in Chromium and waits for its end: PAGE CONTROL URL TRANSPORT.
import { chromium } from "playwright-core";

const CHROMIUM = process.env.SEALEDBLOB_CHROMIUM ?? "/usr/bin/chromium";
const [page, host, url, transport] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let code = 1;
try {
  const tab = await browser.newPage();
  tab.on("console", (message) => console.log(message.text()));
  tab.on("pageerror", (error) => console.log(String(error)));
  await tab.goto(`${host}/${page}?${new URLSearchParams({ url, transport })}`);
  await tab.waitForFunction(() => ["done", "failed"].includes(document.title), undefined, { timeout: 80_000 });
  code = (await tab.title()) === "done" ? 0 : 1;
} finally {
  await browser.close();
}
process.exit(code);
