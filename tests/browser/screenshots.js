// Renews the pictures of the console in docs/images, from a fleet that is started for it (or the one that QUINTET_URL
// and QUINTET_DATA_DIR name) and an hour of a shop's telemetry: `node screenshots.js [FOLDER]`.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { canStart, environmentOf, start } from "./support/fleet.js";
import { withFewColours } from "./support/png.js";

const FOLDER = fileURLToPath(new URL("../../docs/images", import.meta.url));
const LARGEST = 150 * 1024;
const WINDOW = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

const metrics = (...expressions) => {
  const asked = expressions.map((expression, at) => `${at === 0 ? "q" : `q${at + 1}`}=${encodeURIComponent(expression)}`);
  return `/explore?range=1h&${asked.join("&")}`;
};

/** Name, looks, path, what shows that its data is in, and what is done before the picture. */
const pictures = ({ slow, failed }) => [
  ["fleet", ["dark", "light"], "/?range=5m", "[data-service]"],
  ["logs", ["dark", "light", "phone"], "/logs?range=1h&fields=service_namespace%3Dshop", ".log-open", openLine],
  ["metrics", ["dark", "light"], metrics("histogram_quantile(0.99, sum by (job, le) (rate(shop_request_duration_seconds_bucket[1m])))"), ".legend-table tbody tr", hoverChart],
  ["traces", ["dark"], "/traces?service=storefront", "table tbody tr"],
  ["trace", ["dark", "light", "phone"], `/traces/${slow}`, ".wf-open"],
  ["trace-failed", ["dark"], `/traces/${failed}`, ".wf-open", openFailed],
  ["map", ["dark", "light"], "/map", ".map-node"],
  ["alerts", ["dark"], "/alerts", ".stats"],
  ["storage", ["dark"], "/storage", ".ranking tbody tr"],
  ["dashboards", ["dark"], "/dashboards", ".board-cards a"],
  ["dashboard", ["dark", "light"], "/dashboards/fleet?range=5m", ".board dd"],
  ["jobs", ["dark"], "/jobs", "table tbody tr"],
  ["mail", ["dark"], "/mail", ".mail-list a"],
  ["shop", ["dark"], "/shop", ".item"],
  ["keys", ["dark"], "/traces", "table tbody tr", (page) => page.keyboard.press("?")],
];

const openLine = (page) => page.locator(".log-open").nth(4).click();
const hoverChart = (page) => page.locator(".chart .u-over").hover();
const openFailed = (page) => page.locator("li:has(.wf-event.bad) .wf-open").first().click();

const LOOKS = {
  dark: { colorScheme: "dark", viewport: WINDOW },
  light: { colorScheme: "light", viewport: WINDOW },
  phone: { colorScheme: "dark", viewport: PHONE, isMobile: true, hasTouch: true },
};
/** A fleet has something to show once its services were scraped some times. */
const SCRAPED_AFTER_MS = 60_000;
/** Charts and fonts settle. */
const SETTLED_AFTER_MS = 1200;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function main() {
  const given = process.env.QUINTET_URL;
  if (!(given && process.env.QUINTET_DATA_DIR) && !canStart()) {
    console.error("error: set QUINTET_URL and QUINTET_DATA_DIR of a running fleet, or QUINTET_XTASK and QUINTET_BIN_DIR to start one");
    return 64;
  }
  const own = given ? null : await start();
  try {
    const directory = own?.directory ?? process.env.QUINTET_DATA_DIR;
    Object.assign(process.env, await environmentOf(own?.url ?? given, directory));
    return await takeAll(directory, process.argv[2] ?? FOLDER);
  } finally {
    await own?.stop();
  }
}

async function takeAll(directory, folder) {
  const { launch, newPerson, signIn, url } = await import("./support/browser.js");
  const { placeOrder } = await import("./support/shop.js");
  const { sendAnHour, senderTo } = await import("./support/shop-data.js");
  await mkdir(folder, { recursive: true });
  const browser = await launch();
  try {
    const first = await newPerson(browser);
    await signIn(first.page, "/shop");
    const until = Date.now() + SCRAPED_AFTER_MS;
    while (Date.now() < until) {
      await placeOrder(first.page);
      await pause(2000);
    }
    const wanted = pictures(await sendAnHour(senderTo(directory)));
    await first.context.close();
    let tooLarge = 0;
    for (const [look, options] of Object.entries(LOOKS)) {
      const { context, page } = await newPerson(browser, options);
      await signIn(page);
      for (const [name, looks, path, ready, act] of wanted) {
        if (!looks.includes(look)) continue;
        await page.goto(url + path);
        await page.locator(ready).first().waitFor();
        await pause(SETTLED_AFTER_MS);
        await act?.(page);
        await pause(SETTLED_AFTER_MS / 4);
        const file = join(folder, `console-${name}${look === "dark" ? "" : `-${look}`}.png`);
        const png = withFewColours(await page.screenshot());
        await writeFile(file, png);
        console.log(`${file}: ${Math.ceil(png.length / 1024)} KiB`);
        if (png.length > LARGEST) tooLarge += 1;
      }
      await context.close();
    }
    return tooLarge === 0 ? 0 : 1;
  } finally {
    await browser.close();
  }
}

process.exitCode = await main();
