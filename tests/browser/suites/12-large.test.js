// Charts of a hundred thousand points and a million log lines. What a sink would answer is made here, so that the page
// alone is looked at. Times are told and not asserted: they are those of the machine that runs this.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { eventually, launch, newPerson, signIn, url } from "../support/browser.js";

const SERIES = 50;
const POINTS = 2000;
const LINES = 1_000_000;
const FRAMES = 120;

function matrix(address) {
  const [start, end] = [Number(address.searchParams.get("start")), Number(address.searchParams.get("end"))];
  const step = (end - start) / (POINTS - 1);
  const result = Array.from({ length: SERIES }, (_, series) => ({
    metric: { job: `job-${series}` },
    values: Array.from({ length: POINTS }, (_, at) => [start + at * step, String(series + Math.sin(at / 40 + series))]),
  }));
  return { status: "success", data: { resultType: "matrix", result } };
}

/** Lines that end before `end`, newest first, in one stream. */
function page(address) {
  const end = BigInt(address.searchParams.get("end"));
  const length = Number(address.searchParams.get("limit"));
  const values = Array.from({ length }, (_, at) => {
    const nanos = end - BigInt(at + 1) * 1000n;
    return [String(nanos), `GET /products/${nanos % 1000n} 200 in 12 ms`];
  });
  return { status: "success", data: { resultType: "streams", result: [{ stream: { service_name: "catalogue", level: "info" }, values }] } };
}

const NOTHING = { status: "success", data: { resultType: "matrix", result: [] } };

describe("much at once", () => {
  let browser, person, view;
  before(async () => {
    browser = await launch();
    person = await newPerson(browser);
    view = person.page;
    await signIn(view);
    await view.route("**/telemetry/prometheus/api/v1/query_range?*", (route) => route.fulfill({ json: matrix(new URL(route.request().url())) }));
    await view.route("**/telemetry/loki/api/v1/query_range?*", (route) => {
      const address = new URL(route.request().url());
      return route.fulfill({ json: address.searchParams.get("query").startsWith("{") ? page(address) : NOTHING });
    });
  });
  after(() => browser.close());

  it(`a chart of ${SERIES * POINTS} points is drawn, and says what is under the pointer`, async (t) => {
    const began = performance.now();
    await view.goto(`${url}/explore?q=up&range=1h`);
    await view.locator(".legend-table tbody tr").nth(SERIES - 1).waitFor();
    t.diagnostic(`from the address to the chart: ${Math.round(performance.now() - began)} ms`);
    await view.getByText("100k points").waitFor();
    await view.locator(".chart .u-over").hover();
    const rows = view.locator(".chart-tip p");
    await eventually("the figures are there", async () => (await rows.count()) > 5);
    assert.match(await rows.first().innerText(), /^job-\d+/);
    const drawn = await view.locator(".chart canvas").evaluate((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value !== 0);
    });
    assert.ok(drawn, "the canvas is not empty");
    const worst = await frames(view, ".chart .u-over", "pointer");
    t.diagnostic(`a frame while the pointer moves: ${worst}`);
  });

  it("a million log lines are walked through to the last one", async (t) => {
    await view.goto(`${url}/logs?range=7d`);
    const box = view.locator(".log-view");
    await box.locator(".log-open").first().waitFor();
    const began = performance.now();
    await box.evaluate(async (element, wanted) => {
      while (element.querySelector("li")?.ariaSetSize !== String(wanted)) {
        element.scrollTop = element.scrollHeight;
        await new Promise(requestAnimationFrame);
      }
    }, LINES);
    t.diagnostic(`${LINES} lines loaded in ${Math.round(performance.now() - began)} ms`);
    await box.evaluate((element) => (element.scrollTop = element.scrollHeight));
    await eventually("the last line is shown", async () => {
      return Number(await box.locator("li").last().getAttribute("aria-posinset")) === LINES;
    });
    assert.ok((await box.locator("li").count()) < 200, "only what is in view is in the document");
    t.diagnostic(`a frame of scrolling: ${await frames(view, ".log-view", "scroll")}`);
    await box.evaluate((element) => (element.scrollTop = 0));
    await eventually("the first line is shown", async () => Number(await box.locator("li").first().getAttribute("aria-posinset")) === 1);
  });

  it("nothing complained on the way", () => assert.deepEqual(person.complaints, []));
});

/** Median and slowest of some frames, while something moves in each. */
async function frames(page, selector, what) {
  return page.locator(selector).first().evaluate(
    async (element, { count, kind }) => {
      const times = [];
      let before = await new Promise(requestAnimationFrame);
      const box = element.getBoundingClientRect();
      for (let at = 0; at < count; at += 1) {
        if (kind === "scroll") element.scrollTop = (element.scrollHeight * at) / count;
        else element.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: box.left + (box.width * at) / count, clientY: box.top + 50 }));
        const now = await new Promise(requestAnimationFrame);
        times.push(now - before);
        before = now;
      }
      times.sort((left, right) => left - right);
      return `median ${times[times.length >> 1].toFixed(1)} ms, slowest ${times.at(-1).toFixed(1)} ms`;
    },
    { count: FRAMES, kind: what },
  );
}
