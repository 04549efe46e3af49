// The queue's pages, with real jobs that a program enqueues and works over HTTP.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { accessibilityViolations, eventually, launch, newPerson, picture, signIn, url } from "../support/browser.js";
import { COMPLETED, DISCARDED, FAILED, jobsClient, KIND } from "../support/jobs.js";

const LOOKS = [
  ["dark", { colorScheme: "dark" }],
  ["light", { colorScheme: "light" }],
  ["phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
];

describe("the pages of the queue", () => {
  let browser;
  let program;
  let person;
  before(async () => {
    browser = await launch();
    program = await jobsClient();
    person = await newPerson(browser);
    await signIn(person.page, "/jobs");
  });
  after(() => browser.close());

  const row = (id) => person.page.locator(`[data-job="${id}"]`);
  const dialog = () => person.page.getByRole("dialog");
  const moments = () => person.page.locator(".moment-head b").allInnerTexts();

  it("a job tells each of its failures, and a redrive gives it another life", async () => {
    const { page } = person;
    const [id] = await program.enqueue("ledger", 1, { max_attempts: 2 });
    assert.equal(await program.work("ledger", FAILED), 1);
    assert.equal(await program.work("ledger", FAILED), 1);
    await page.goto(`${url}/jobs/dead?queue=ledger`);
    await row(id).getByRole("link", { name: KIND }).click();
    await page.getByRole("heading", { name: KIND, level: 1 }).waitFor();
    await eventually("its whole life is there", async () => (await moments()).length === 4);
    assert.deepEqual(await moments(), ["Enqueued", "Attempt 1 failed", "Attempt 2 failed", "Dead letter"]);
    assert.equal(await page.locator(".moment pre").filter({ hasText: "Errno 111" }).count(), 2);
    await page.getByRole("button", { name: "Redrive" }).click();
    assert.match(await dialog().innerText(), /ledger with all of its 2 attempts/);
    await dialog().getByRole("button", { name: "Redrive" }).click();
    await page.getByText("Attempt 1 of 2 is due").waitFor();
    assert.equal(await program.work("ledger", COMPLETED), 1);
    await page.getByText("Attempt 1 completed").waitFor();
    assert.ok((await moments()).includes("Redriven"));
    await page.locator(".log-open").first().waitFor();
    const request = page.locator(".log-origin [data-request]");
    await request.waitFor();
    const asked = await request.getAttribute("data-request");
    await request.click();
    await page.waitForURL((address) => address.searchParams.get("request") === asked);
    await page.locator(".log-open").first().waitFor();
  });

  it("a paused queue hands out nothing until it is resumed", async () => {
    const { page } = person;
    await program.enqueue("paused", 2);
    await page.goto(`${url}/jobs`);
    const queue = page.locator('[data-queue="paused"]');
    await queue.getByRole("button", { name: "Pause paused" }).click();
    await dialog().waitFor();
    await page.keyboard.press("Escape");
    await dialog().waitFor({ state: "detached" });
    await queue.getByText("open", { exact: true }).waitFor();
    await queue.getByRole("button", { name: "Pause paused" }).click();
    await dialog().getByRole("button", { name: "Pause" }).click();
    await queue.getByText(/^paused /).waitFor();
    assert.equal(await program.work("paused", COMPLETED), 0);
    await queue.getByRole("button", { name: "Resume paused" }).click();
    assert.match(await dialog().innerText(), /2 are due/);
    await page.keyboard.press("Enter");
    await queue.getByText("open", { exact: true }).waitFor();
    assert.equal(await program.work("paused", COMPLETED), 2);
  });

  it("dead letters are chosen by filter, counted, and put back only after a yes", async () => {
    const { page } = person;
    await program.enqueue("bulk", 3, { max_attempts: 1 });
    await program.work("bulk", FAILED);
    const others = await program.enqueue("bulk", 2, { max_attempts: 1 });
    await program.work("bulk", DISCARDED);
    await page.goto(`${url}/jobs/dead`);
    await page.locator("select[name=queue]").selectOption("bulk");
    await page.getByLabel("Last error contains").fill("errno 111");
    await page.locator('[data-count="3"]').waitFor();
    assert.equal(new URL(page.url()).search, "?queue=bulk&error=errno+111");
    await page.getByRole("button", { name: "Redrive all" }).click();
    await dialog().getByRole("heading", { name: "Redrive 3 dead letters?" }).waitFor();
    assert.match(await dialog().innerText(), /in the queue bulk, whose last error contains “errno 111”/);
    await dialog().getByRole("button", { name: "Keep as it is" }).click();
    assert.equal(await program.work("bulk", COMPLETED), 0);
    await page.getByRole("button", { name: "Redrive all" }).click();
    await dialog().getByRole("button", { name: "Redrive 3" }).click();
    await page.getByText("3 dead letters put back into the queue.").waitFor();
    await page.getByText("No jobs match").waitFor();
    assert.equal(await program.work("bulk", COMPLETED), 3);
    await page.getByLabel("Last error contains").fill("");
    for (const id of others) await row(id).waitFor();
  });

  it("ticked by the keyboard, one dead letter is deleted and its neighbour stays", async () => {
    const { page } = person;
    await program.enqueue("keys", 2, { max_attempts: 1 });
    await program.work("keys", DISCARDED);
    await page.goto(`${url}/jobs/dead?queue=keys`);
    await page.locator("[data-job]").nth(1).waitFor();
    const [gone, kept] = await page.locator("[data-job]").evaluateAll((rows) => rows.map((one) => one.dataset.job));
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await page.getByText("1 selected").waitFor();
    await page.getByRole("button", { name: "Delete selected" }).click();
    await dialog().getByRole("heading", { name: "Delete 1 dead letter?" }).waitFor();
    await dialog().getByRole("button", { name: "Delete 1" }).click();
    await row(gone).waitFor({ state: "detached" });
    await row(kept).waitFor();
    await page.goto(`${url}/jobs/${gone}`);
    await page.getByText("There is no such job").waitFor();
    // The browser logs the 404 that was asked for.
    person.complaints.length = 0;
  });

  it("a search is an address, and its pages are too", async () => {
    const { page } = person;
    // By id, as pages are: jobs of one moment have no other order.
    const ids = (await program.enqueue("many", 60)).sort();
    await page.goto(`${url}/jobs/search?queue=many`);
    await row(ids.at(-1)).waitFor();
    assert.equal(await page.locator("[data-job]").count(), 50);
    await page.getByRole("link", { name: "Older" }).click();
    await row(ids[0]).waitFor();
    assert.equal(await page.locator("[data-job]").count(), 10);
    await page.reload();
    await row(ids[0]).waitFor();
    await page.getByRole("link", { name: "Newest" }).click();
    await row(ids.at(-1)).waitFor();
    await page.locator("select[name=state]").selectOption("ready");
    await page.locator('[data-count="60"]').waitFor();
    await page.getByRole("button", { name: "Cancel all" }).click();
    await dialog().getByRole("button", { name: "Cancel 60" }).click();
    await page.getByText("60 waiting jobs cancelled.").waitFor();
    assert.equal(await program.work("many", COMPLETED), 0);
  });

  it("a waiting job is cancelled on its page", async () => {
    const { page } = person;
    const [id] = await program.enqueue("one", 1, { run_at: "2100-01-01T00:00:00Z" });
    await page.goto(`${url}/jobs/${id}`);
    await page.getByText("Attempt 1 of 20 is planned").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await dialog().getByRole("button", { name: "Cancel the job" }).click();
    await page.getByText("Cancelled before it ran").waitFor();
  });

  it("a batch shows how its jobs ended, and what is left of it is cancelled on its page", async () => {
    const { page } = person;
    const job = { kind: KIND, queue: "counted", args: { numbers: [1, 2] } };
    const later = { ...job, run_at: "2100-01-01T00:00:00Z" };
    const id = await program.group("batches", { name: "month's end", jobs: [job, later], on_end: later, seal: true });
    assert.equal(await program.work("counted", COMPLETED), 1);
    await page.goto(`${url}/jobs/${id}`);
    await page.getByRole("heading", { name: "month's end", level: 1 }).waitFor();
    const fact = (name) => page.locator(`dt:text-is("${name}") + dd`).first();
    await fact("Completed").filter({ hasText: "1" }).waitFor();
    await page.getByText("not due").waitFor();
    assert.deepEqual(await accessibilityViolations(page), []);
    await picture(page, "jobs-batch");
    await page.getByRole("button", { name: "Cancel" }).click();
    assert.match(await dialog().innerText(), /1 of its jobs/);
    await dialog().getByRole("button", { name: "Cancel the batch" }).click();
    await fact("Cancelled").filter({ hasText: "1" }).waitFor();
    await page.getByRole("button", { name: "Cancel" }).waitFor({ state: "detached" });
    await page.getByRole("link", { name: KIND }).waitFor();
  });

  it("a workflow shows its jobs level by level, and is cancelled on its page", async () => {
    const { page } = person;
    const job = { kind: KIND, queue: "graph", args: { numbers: [1, 2] } };
    const id = await program.group("workflows", {
      name: "closing",
      jobs: [
        { name: "sum", job },
        { name: "post", job, after: ["sum"] },
        { name: "mail", job, after: ["post"] },
      ],
    });
    assert.equal(await program.work("graph", COMPLETED), 1);
    await page.goto(`${url}/jobs/${id}`);
    await page.getByRole("heading", { name: "closing", level: 1 }).waitFor();
    const state = (name) => row(name).locator(".badge");
    await state("sum").filter({ hasText: "completed" }).waitFor();
    await state("mail").filter({ hasText: "blocked" }).waitFor();
    assert.deepEqual(await accessibilityViolations(page), []);
    await picture(page, "jobs-workflow");
    await page.getByRole("button", { name: "Cancel" }).click();
    await dialog().getByRole("button", { name: "Cancel the workflow" }).click();
    await state("mail").filter({ hasText: "cancelled" }).waitFor();
  });

  it("a schedule is run now and leads to its job", async () => {
    const { page } = person;
    await page.goto(`${url}/jobs/schedules`);
    const schedule = page.locator('[data-schedule="weekly-sum"]');
    const next = schedule.getByRole("list", { name: "Next runs" }).getByRole("listitem");
    await next.first().waitFor();
    assert.equal(await next.count(), 5);
    await schedule.getByRole("button", { name: "Run now: weekly-sum" }).click();
    await dialog().getByRole("button", { name: "Run now" }).click();
    await schedule.getByRole("status").getByRole("link").click();
    await page.getByText("Attempt 1 of 20 is due").waitFor();
    assert.equal(await program.work("default", COMPLETED), 1);
    await page.getByText("Attempt 1 completed").waitFor();
  });

  it("whoever lacks the scope sees every action, and why it is refused", async () => {
    const { page } = person;
    const changes = [];
    const listen = (request) => {
      if (request.method() === "POST") changes.push(request.url());
    };
    page.on("request", listen);
    await page.route("**/.auth/session", async (route) => {
      const answer = await route.fetch();
      const session = await answer.json();
      const scopes = session.scopes.filter((scope) => scope !== "jobs:write");
      await route.fulfill({ response: answer, json: { ...session, scopes } });
    });
    for (const [path, name] of [
      ["/jobs", "Pause default"],
      ["/jobs/dead?queue=bulk", "Redrive all"],
      ["/jobs/schedules", "Run now: weekly-sum"],
    ]) {
      await page.goto(url + path);
      await page.getByRole("note").filter({ hasText: "jobs:write" }).waitFor();
      const button = page.getByRole("button", { name });
      await button.and(page.locator('[aria-disabled="true"]')).waitFor();
      assert.match(await button.getAttribute("title"), /Needs the scope jobs:write/);
      await button.click({ force: true });
      assert.equal(await dialog().count(), 0);
    }
    await page.unroute("**/.auth/session");
    page.off("request", listen);
    assert.deepEqual(changes, []);
  });

  it("no page complained on the way", () => assert.deepEqual(person.complaints, []));

  describe("with jobs in every state", () => {
    let pages;
    before(async () => {
      const [dead] = await program.enqueue("imports", 1, { max_attempts: 3 });
      for (let attempt = 0; attempt < 3; attempt += 1) await program.work("imports", FAILED);
      await program.enqueue("imports", 14);
      await program.work("imports", COMPLETED);
      await program.enqueue("imports", 3, { max_attempts: 1 });
      await program.work("imports", DISCARDED);
      await program.enqueue("imports", 3);
      await program.begin("imports");
      await program.enqueue("imports", 4);
      await program.enqueue("imports", 2, { run_at: "2100-01-01T00:00:00Z" });
      pages = [
        ["jobs-queues", "/jobs", '[data-queue="imports"]'],
        ["jobs-search", "/jobs/search", "[data-job]"],
        ["jobs-dead", "/jobs/dead", "[data-job]"],
        ["jobs-schedules", "/jobs/schedules", "[data-schedule]"],
        ["jobs-limits", "/jobs/limits", "[data-limit], .empty"],
        ["jobs-one", `/jobs/${dead}`, ".log-open"],
        ["jobs-none", "/jobs/dead?kind=no.such.kind", ".empty"],
      ];
    });

    for (const [look, options] of LOOKS) {
      it(`every page is accessible, quiet and fits its window: ${look}`, async () => {
        const { context, page, complaints } = await newPerson(browser, options);
        await signIn(page, "/jobs");
        const problems = [];
        const check = async (name) => {
          problems.push(...(await accessibilityViolations(page)).map((found) => `${name}: ${found}`));
          const [needs, has] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
          if (needs > has) problems.push(`${name}: ${needs} px wide in a window of ${has} px`);
          await picture(page, `${name}-${look}`);
        };
        for (const [name, path, ready] of pages) {
          await page.goto(url + path);
          await page.locator(ready).first().waitFor();
          if (path === "/jobs") await page.locator(".uplot").nth(1).waitFor();
          await check(name);
        }
        await page.goto(`${url}/jobs/dead`);
        await page.getByRole("button", { name: "Delete all" }).click();
        await page.getByRole("dialog").waitFor();
        await check("jobs-question");
        assert.deepEqual(problems, []);
        assert.deepEqual(complaints, []);
        await context.close();
      });
    }
  });
});
