// Logs, metrics, traces, alerts and dashboards as a person works with them.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { eventually, inspect, launch, newPerson, signIn, url } from "../support/browser.js";
import { placeOrder } from "../support/shop.js";

const parameter = (page, name) => new URL(page.url()).searchParams.get(name) ?? "";

describe("the logs", () => {
  let browser, person, page;
  before(async () => {
    browser = await launch();
    person = await newPerson(browser);
    ({ page } = person);
    await signIn(page, "/shop");
    await placeOrder(page);
    await page.goto(`${url}/logs`);
    await page.locator(".log-open").first().waitFor();
  });
  after(() => browser.close());

  it("are kept to a service by a click, and the address says so", async () => {
    await page.getByRole("button", { name: "core-api", exact: false }).and(page.locator(".facet-value")).click();
    await eventually("the address has the service", () => parameter(page, "service") === "core-api");
    await eventually("only its lines are left", async () => {
      const names = await page.locator(".log-view .service").allInnerTexts();
      return names.length > 0 && names.every((name) => name === "core-api");
    });
    await page.getByRole("group", { name: "Filters" }).getByRole("button").first().click();
    await eventually("the filter is gone", () => parameter(page, "service") === "");
  });

  it("open into fields that filter, and into the lines around", async () => {
    await page.locator(".log-view .log-open").first().waitFor();
    await page.locator(".log-view .log-open").nth(2).click();
    await page.getByRole("button", { name: "Lines around this one" }).click();
    await page.locator(".log-around .here").first().waitFor();
    await page.getByRole("button", { name: /^Leave out lines with service_name / }).click();
    await eventually("the address leaves the service out", () => parameter(page, "fields").includes("!="));
    await page.goto(`${url}/logs`);
  });

  it("are walked through and opened by the keyboard", async () => {
    await page.locator(".log-view .log-open").first().waitFor();
    await page.getByRole("heading", { name: "Logs", level: 1 }).focus();
    for (const key of ["j", "j", "k", "Enter"]) await page.keyboard.press(key);
    await page.locator(".log-view li.at .log-detail").waitFor();
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("name")), "text");
  });

  it("older than the first page are loaded on the way down", async () => {
    await page.goto(`${url}/logs?range=1h`);
    await page.locator(".log-view .log-open").first().waitFor();
    const count = async () => Number(await page.locator(".log-view li").first().getAttribute("aria-setsize"));
    const first = await count();
    if (first < 1000) return;
    await page.locator(".log-view").evaluate((box) => (box.scrollTop = box.scrollHeight));
    await eventually("a second page is there", async () => (await count()) > first);
  });

  it("arrive by themselves while they are followed", async () => {
    await page.goto(`${url}/logs?tail=1&service=edge-gateway`);
    await page.getByLabel("Follow").waitFor();
    const probe = `/api/v1/probe-${Date.now()}`;
    await page.evaluate((path) => fetch(path), probe).catch(() => {});
    await page.locator(".log-view .log-text", { hasText: probe }).first().waitFor();
  });

  it("wait while the tail is paused, and are there when it goes on", async () => {
    await page.goto(`${url}/logs?tail=1&service=edge-gateway`);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("Paused").waitFor();
    const probe = `/api/v1/probe-${Date.now()}`;
    await page.evaluate((path) => fetch(path), probe).catch(() => {});
    await page.locator(".log-live", { hasText: /\d new/ }).waitFor();
    const line = page.locator(".log-view .log-text", { hasText: probe });
    assert.equal(await line.count(), 0);
    await page.getByRole("button", { name: "Go on" }).click();
    await line.first().waitFor();
  });

  it("are handed over as a file", async () => {
    await page.goto(`${url}/logs`);
    await page.locator(".log-view .log-open").first().waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "JSON" }).click(),
    ]);
    assert.match(download.suggestedFilename(), /^logs-.*\.jsonl$/);
  });

  it("nothing complained on the way but the probe that was to fail", () => {
    assert.deepEqual(
      person.complaints.filter((complaint) => !complaint.includes("/api/v1/probe-")),
      [],
    );
  });
});

describe("the metrics explorer", () => {
  let browser, person, page;
  before(async () => {
    browser = await launch();
    person = await newPerson(browser);
    ({ page } = person);
    await signIn(page, `/explore?q=${encodeURIComponent("process_resident_memory_bytes")}&range=5m`);
    await page.locator(".legend-table tbody tr").first().waitFor();
  });
  after(() => browser.close());

  it("shows two expressions in one chart, each named", async () => {
    await page.getByRole("button", { name: "Add" }).click();
    await page.getByRole("combobox", { name: "PromQL expression B" }).fill("process_open_fds");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Run" }).click();
    await page.locator(".legend-table th", { hasText: /^B · / }).first().waitFor();
    assert.equal(parameter(page, "q2"), "process_open_fds");
  });

  it("narrows the range by a drag over the chart, and goes back", async () => {
    const box = await page.locator(".chart .u-over").boundingBox();
    await page.mouse.move(box.x + box.width * 0.3, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await eventually("two instants are in the address", () => parameter(page, "from") !== "" && parameter(page, "to") !== "");
    const length = Number(parameter(page, "to")) - Number(parameter(page, "from"));
    assert.ok(length > 60_000 && length < 150_000, `${length} ms of five minutes`);
    await page.getByRole("button", { name: "Back to a range that ends now" }).click();
    await eventually("the range ends now", () => parameter(page, "from") === "");
  });

  it("says what a bare counter should be, and asks it by a click", async () => {
    await page.goto(`${url}/explore?q=http_server_requests_total`);
    await page.locator(".explore-hint .chip").click();
    await eventually("the rate is asked", () => parameter(page, "q").startsWith("rate(http_server_requests_total["));
  });

  it("shows the figures as a table that can be sorted", async () => {
    await page.goto(`${url}/explore?q=process_resident_memory_bytes&view=table`);
    const values = () => page.locator(".legend-table td.num").evaluateAll((cells) => cells.map((cell) => Number(cell.title)));
    await page.locator(".legend-table td.num").first().waitFor();
    const falling = await values();
    assert.deepEqual(falling, falling.toSorted((left, right) => right - left));
    await page.getByRole("button", { name: /^Value/ }).click();
    await eventually("the order turns round", async () => (await values())[0] === Math.min(...falling));
  });

  it("nothing complained on the way", () => assert.deepEqual(person.complaints, []));
});

describe("traces", () => {
  it("are searched inside, looked at in part, and lead to the logs of a span", async () => {
    const browser = await launch();
    const { page, complaints } = await newPerson(browser);
    await signIn(page, "/shop");
    await placeOrder(page);
    await page.goto(`${url}/traces?service=core-api&attributes=${encodeURIComponent("http.request.method=POST")}`);
    const row = page.locator("table tbody tr a").first();
    await row.or(page.locator(".empty")).first().waitFor();
    if (!(await row.isVisible())) await page.goto(`${url}/traces?service=core-api`);
    await page.locator("table tbody tr a").first().click();
    await page.locator('.wf-open[data-service="core-api"]').first().waitFor();
    await page.getByLabel("Find spans by service, operation or attribute").fill("core-api");
    await page.locator(".waterfall li.found").first().waitFor();
    await page.locator('.wf-open[data-service="core-api"]').first().click();
    await page.getByRole("button", { name: "Zoom to this span" }).click();
    await page.getByRole("button", { name: "Whole trace" }).click();
    await page.getByRole("link", { name: "Logs of this span" }).click();
    await page.waitForURL(/\/logs\?trace=/);
    await page.locator(".log-open, .empty").first().waitFor();
    assert.deepEqual(complaints, []);
    await browser.close();
  });
});

describe("alerts", () => {
  it("are silenced, and the silence is ended", async () => {
    const browser = await launch();
    const { page, complaints } = await newPerson(browser);
    await signIn(page, "/alerts");
    await page.locator(".stats").waitFor();
    await page.getByRole("button", { name: "New silence" }).click();
    await page.getByLabel("Alerts with these labels").fill('alertname="Rehearsal", job=~"edge-.*"');
    await page.getByLabel("Why").fill("a rehearsal");
    const form = page.getByRole("region", { name: "New silence" });
    await form.getByRole("button", { name: "Silence", exact: true }).click();
    const row = page.locator("[data-silence]", { hasText: "Rehearsal" });
    await row.waitFor();
    await row.getByRole("button", { name: "End now" }).click();
    await row.waitFor({ state: "detached" });
    assert.deepEqual(complaints, []);
    await browser.close();
  });
});

const EXPORTED = {
  schemaVersion: 39,
  title: "From elsewhere",
  templating: { list: [{ type: "query", name: "job", query: "label_values(up, job)", includeAll: true, multi: true }] },
  panels: [
    {
      type: "timeseries",
      title: "Memory",
      gridPos: { x: 0, y: 0, w: 24, h: 8 },
      targets: [{ expr: 'process_resident_memory_bytes{job=~"$job"}', legendFormat: "{{job}}" }],
      fieldConfig: { defaults: { unit: "bytes" } },
    },
    { type: "geomap", title: "Where" },
  ],
};

describe("dashboards", () => {
  let browser, person, page;
  before(async () => {
    browser = await launch();
    person = await newPerson(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    ({ page } = person);
    await signIn(page, "/dashboards");
  });
  after(() => browser.close());

  it("of Grafana are read in, and what does not come over is said", async () => {
    const file = { name: "grafana.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(EXPORTED)) };
    await page.getByLabel(/A dashboard as JSON/).setInputFiles(file);
    await page.getByText("The panel “Where” is of the type geomap").waitFor();
    await page.getByRole("link", { name: "Open" }).click();
    await page.getByRole("heading", { name: "From elsewhere", level: 1 }).waitFor();
    await page.locator(".legend-name", { hasText: "core-api" }).waitFor();
  });

  it("follow their variables", async () => {
    await page.getByRole("group", { name: "Variables" }).getByRole("combobox").selectOption("core-api");
    await eventually("one series is left", async () => (await page.locator(".legend-name").count()) === 1);
    assert.equal(parameter(page, "var-job"), "core-api");
  });

  it("are edited as JSON, and a mistake is said before it is kept", async () => {
    await page.getByRole("button", { name: "Edit", exact: true }).click();
    const box = page.getByLabel("The dashboard as JSON");
    const text = await box.inputValue();
    await box.fill(text.replace('"timeseries"', '"pie"'));
    await page.getByText("panels[0].kind must be one of").waitFor();
    await box.fill(text.replace('"title": "Memory"', '"title": "Memory, renamed"'));
    await page.getByRole("button", { name: "Keep" }).click();
    await page.getByRole("heading", { name: "Memory, renamed" }).waitFor();
  });

  it("are kept by the server, so that another person sees them at the same address", async () => {
    await page.getByRole("button", { name: "Share" }).click();
    await page.getByText("The address is copied.").waitFor();
    const address = await page.evaluate(() => navigator.clipboard.readText());
    assert.doesNotMatch(address, /#/);
    const other = await newPerson(browser);
    await signIn(other.page);
    await other.page.goto(address);
    await other.page.getByRole("heading", { name: "Memory, renamed" }).waitFor();
    assert.deepEqual(other.complaints, []);
    await other.context.close();
  });

  it("that somebody else changed meanwhile are not written over", async () => {
    const box = page.getByLabel("The dashboard as JSON");
    const text = await box.inputValue();
    const path = `/telemetry/v1/dashboards/${JSON.parse(text).id}`;
    const theirs = await page.request.put(url + path, {
      headers: { "if-match": "*", origin: url },
      data: JSON.parse(text.replace("Memory, renamed", "Memory, theirs")),
    });
    assert.equal(theirs.status(), 200, await theirs.text());
    await box.fill(text.replace("Memory, renamed", "Memory, mine"));
    await page.getByRole("button", { name: "Keep" }).click();
    await page.getByText("Somebody else changed or deleted this dashboard meanwhile").waitFor();
    const refused = person.complaints.splice(0);
    assert.ok(refused.length === 1 && refused[0].includes("status of 412"), refused.join());
    await page.reload();
    await page.getByRole("heading", { name: "Memory, theirs" }).waitFor();
  });

  it("of who may not write to the server stay in the browser, and are shared by an address that holds them", async () => {
    const other = await newPerson(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    let mayWrite = false;
    await other.page.route("**/.auth/session", async (route) => {
      const answer = await route.fetch();
      const session = await answer.json();
      const scopes = mayWrite ? session.scopes : session.scopes.filter((scope) => scope !== "telemetry:write");
      await route.fulfill({ response: answer, json: { ...session, scopes } });
    });
    await signIn(other.page, "/dashboards/host");
    await other.page.getByRole("button", { name: "Copy to edit" }).click();
    await other.page.getByLabel("The dashboard as JSON").waitFor();
    await other.page.getByRole("button", { name: "Share" }).click();
    await other.page.getByText("The address is copied.").waitFor();
    const address = await other.page.evaluate(() => navigator.clipboard.readText());
    assert.match(address, /\/dashboards\/shared.*#d=/);
    await page.goto(address);
    await page.getByRole("heading", { name: "Host", exact: true, level: 1 }).waitFor();

    mayWrite = true;
    await other.page.goto(`${url}/dashboards`);
    await other.page.getByRole("button", { name: "Move Host to the server" }).click();
    const row = other.page.locator("[data-stored]", { hasText: "Host" });
    await row.waitFor();
    await inspect(other, "dashboards-kept");
    await row.getByRole("button", { name: "Delete Host" }).click();
    await other.page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await row.waitFor({ state: "detached" });
    assert.deepEqual(other.complaints, []);
    await other.context.close();
  });

  it("nothing complained on the way", () => assert.deepEqual(person.complaints, []));
});
