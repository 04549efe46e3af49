// What a shop of seven services would send in an hour: traces of some forty spans, log lines of every level, and
// metrics with exemplars, as OTLP over HTTP. Everything follows from a seed, so that two runs draw the same pictures.

import assert from "node:assert/strict";
import { request } from "node:http";
import { join } from "node:path";

const SERVICES = ["storefront", "checkout", "catalogue", "payments", "inventory", "recommender", "mailer"];
const ROUTES = ["GET /products", "GET /products/{id}", "POST /cart", "POST /checkout", "GET /search"];
const VERSIONS = ["2.14.1", "2.14.1", "2.15.0"];

/** Numbers in 0..1 that are the same in each run (mulberry32). */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const text = (key, value) => ({ key, value: { stringValue: String(value) } });
const whole = (key, value) => ({ key, value: { intValue: String(value) } });
const nanos = (ms) => String(BigInt(Math.round(ms * 1000)) * 1000n);
const resource = (service, at = 0) => ({
  attributes: [
    text("service.name", service),
    text("service.version", VERSIONS[at % VERSIONS.length]),
    text("service.namespace", "shop"),
    text("service.instance.id", `${service}-${at % 2}`),
    text("host.name", `node-${(at % 3) + 1}`),
  ],
});

/** Sends to the unix socket of a fleet that `cargo xtask up` started. */
export function senderTo(directory) {
  const socketPath = join(directory, "run", "telemetry-sink.otlp.sock");
  return (signal, body) =>
    new Promise((resolve, reject) => {
      const headers = { "content-type": "application/json" };
      const sent = request({ socketPath, path: `/v1/${signal}`, method: "POST", headers, timeout: 60_000 }, (answer) => {
        let said = "";
        answer.setEncoding("utf8");
        answer.on("data", (chunk) => (said += chunk));
        answer.on("end", () => {
          try {
            assert.equal(answer.statusCode, 200, said);
            resolve();
          } catch (error) {
            reject(error);
          }
        });
      });
      sent.on("timeout", () => sent.destroy(new Error(`${signal}: no answer`)));
      sent.on("error", reject);
      sent.end(JSON.stringify(body));
    });
}

/** One request through the shop: its spans, and the lines written on the way. */
function story(random, startMs, slow, failing) {
  const hex = (bytes) => Array.from({ length: bytes }, () => Math.floor(random() * 256).toString(16).padStart(2, "0")).join("");
  const traceId = hex(16);
  const spans = [];
  const lines = [];
  const span = (service, name, kind, parentSpanId, from, length, attributes = [], more = {}) => {
    const spanId = hex(8);
    const times = { startTimeUnixNano: nanos(from), endTimeUnixNano: nanos(from + length) };
    spans.push([service, { traceId, spanId, parentSpanId, name, kind, ...times, attributes, ...more }]);
    return spanId;
  };
  const line = (service, at, severity, body, spanId, attributes = []) =>
    lines.push([service, { timeUnixNano: nanos(at), severityNumber: severity, body: { stringValue: body }, traceId, spanId, attributes }]);
  const [SERVER, CLIENT, INTERNAL, PRODUCER, CONSUMER] = [2, 3, 1, 4, 5];
  const stretch = slow ? 6 : 1;
  const tick = (least, most) => (least + random() * (most - least)) * stretch;

  const order = `ord_${hex(6)}`;
  let now = startMs;
  const total = tick(150, 220);
  const root = span("storefront", "POST /checkout", SERVER, "", now, total, [
    text("http.request.method", "POST"),
    text("http.route", "/checkout"),
    whole("http.response.status_code", failing ? 502 : 200),
    text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
    text("order.id", order),
  ], failing ? { status: { code: 2, message: "payment refused" } } : {});
  line("storefront", now + 1, 9, `checkout of ${order} begins`, root, [text("order_id", order)]);
  now += tick(1, 3);
  const session = span("storefront", "session.load", INTERNAL, root, now, tick(2, 4));
  span("storefront", "redis GET", CLIENT, session, now + 0.3, tick(0.4, 1.2), [text("db.system", "redis"), text("db.statement", "GET session:{id}")]);
  now += tick(4, 6);
  const length = total - (now - startMs) - tick(2, 4);
  const client = span("storefront", "checkout.Place", CLIENT, root, now, length, [text("rpc.system", "grpc"), text("server.address", "checkout:9000")]);
  const place = span("checkout", "checkout.Place", SERVER, client, now + 0.6, length - 1.2, [text("rpc.system", "grpc"), whole("cart.items", 5)]);
  let at = now + tick(1, 2);
  for (let item = 0; item < 5; item += 1) {
    const took = tick(4, 8);
    const get = span("checkout", "catalogue.Price", CLIENT, place, at, took, [text("sku", `SKU-${1000 + item}`)]);
    const price = span("catalogue", "catalogue.Price", SERVER, get, at + 0.5, took - 1, [text("sku", `SKU-${1000 + item}`)]);
    span("catalogue", "SELECT prices", CLIENT, price, at + 1, took - 2.2, [text("db.system", "postgresql"), text("db.statement", "SELECT amount FROM prices WHERE sku = $1")]);
    at += took * 0.55;
  }
  at += tick(4, 6);
  const reserveTook = tick(14, 22);
  const reserve = span("checkout", "inventory.Reserve", CLIENT, place, at, reserveTook);
  const reserved = span("inventory", "inventory.Reserve", SERVER, reserve, at + 0.5, reserveTook - 1, [whole("lines", 5)], {
    events: [{ timeUnixNano: nanos(at + reserveTook * 0.4), name: "lock waited for", attributes: [whole("waited_ms", 4)] }],
  });
  for (let row = 0; row < 5; row += 1) {
    span("inventory", "UPDATE stock", CLIENT, reserved, at + 1 + (row * (reserveTook - 3)) / 5, (reserveTook - 3) / 5 - 0.3, [text("db.system", "postgresql")]);
  }
  at += reserveTook + tick(1, 2);
  const payTook = Math.max(20, startMs + total - at - tick(14, 20));
  const refused = failing ? { status: { code: 2, message: "card declined" } } : {};
  const pay = span("checkout", "payments.Charge", CLIENT, place, at, payTook, [], refused);
  const charge = span("payments", "payments.Charge", SERVER, pay, at + 0.6, payTook - 1.2, [text("payment.method", "card"), whole("amount_cents", 12_950)], {
    ...refused,
    events: failing
      ? [{ timeUnixNano: nanos(at + payTook - 3), name: "exception", attributes: [text("exception.type", "CardDeclined"), text("exception.message", "issuer answered 51: insufficient funds"), text("exception.stacktrace", "payments.charge.Charge\n  at gateway.rs:118\n  at retry.rs:42")] }]
      : [],
  });
  line("payments", at + 2, 5, "asking the issuer", charge, [text("issuer", "acme-bank")]);
  for (let attempt = 0; attempt < (failing ? 3 : 1); attempt += 1) {
    const each = (payTook - 4) / (failing ? 3 : 1);
    span("payments", "POST issuer.example/charges", CLIENT, charge, at + 2 + attempt * each, each - 1, [text("url.full", "https://issuer.example/charges"), whole("http.request.resend_count", attempt)], refused);
    if (failing) line("payments", at + 2 + attempt * each + each, 13, `the issuer refused the charge, attempt ${attempt + 1} of 3`, charge, [text("attempt", attempt + 1)]);
  }
  if (failing) line("payments", at + payTook - 2, 17, "the card was declined: issuer answered 51, insufficient funds", charge, [text("error", "CardDeclined"), text("order_id", order)]);
  const ends = at + payTook;
  const suggest = span("storefront", "recommender.Suggest", CLIENT, root, startMs + 6, tick(20, 30));
  const suggested = span("recommender", "recommender.Suggest", SERVER, suggest, startMs + 7, tick(14, 18), [text("model", "als-2026-11")]);
  span("recommender", "embed", INTERNAL, suggested, startMs + 8, tick(5, 8));
  span("recommender", "nearest", INTERNAL, suggested, startMs + 8 + tick(6, 8), tick(3, 5));
  if (!failing) {
    const publish = span("checkout", "orders publish", PRODUCER, place, ends + 1, tick(2, 3), [text("messaging.system", "nats")]);
    const consume = span("mailer", "orders process", CONSUMER, publish, ends + tick(20, 30), tick(30, 44));
    span("mailer", "render receipt", INTERNAL, consume, ends + tick(32, 34), tick(6, 9));
    span("mailer", "SMTP send", CLIENT, consume, ends + tick(44, 46), tick(12, 15), [text("server.address", "smtp.example")]);
    line("mailer", ends + 60, 9, "receipt sent", consume, [text("order_id", order), text("template", "receipt")]);
  }
  line("checkout", ends, failing ? 17 : 9, failing ? `${order} was not placed: payment refused` : `${order} was placed`, place, [text("order_id", order), text("items", 5)]);
  line("storefront", startMs + total, failing ? 13 : 9, `POST /checkout ${failing ? 502 : 200} in ${total.toFixed(1)} ms`, root, [text("method", "POST"), text("status", failing ? 502 : 200)]);
  return { traceId, spans, lines, totalMs: total };
}

const byService = (pairs, wrap) => {
  const services = [...new Set(pairs.map(([service]) => service))];
  const of = (wanted) => pairs.flatMap(([service, one]) => (service === wanted ? [one] : []));
  return services.map((service, at) => wrap(resource(service, at), of(service)));
};

const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Sends an hour that ends now; the ids of one trace that went well, one that was slow and one that failed. */
export async function sendAnHour(send, { minutes = 60, linesAMinute = 400, seed = 7 } = {}) {
  const random = seeded(seed);
  const endMs = Date.now();
  const startMs = endMs - minutes * 60_000;
  const told = {};
  const exemplars = [];
  for (let minute = 0; minute < minutes; minute += 1) {
    const from = startMs + minute * 60_000;
    const spans = [];
    const lines = [];
    for (let number = 0; number < 4; number += 1) {
      const [slow, failing] = [random() < 0.12, random() < (minute % 20 > 16 ? 0.5 : 0.06)];
      const one = story(random, from + random() * 59_000, slow, failing);
      spans.push(...one.spans);
      lines.push(...one.lines);
      exemplars.push({ traceId: one.traceId, atMs: from + 59_500, seconds: one.totalMs / 1000 });
      told[failing ? "failed" : slow ? "slow" : "good"] = one.traceId;
    }
    const busy = 0.6 + 0.4 * Math.sin((minute / minutes) * Math.PI * 3);
    for (let number = 0; number < linesAMinute * busy; number += 1) lines.push(access(random, from + random() * 60_000, minute));
    await send("traces", { resourceSpans: byService(spans, (one, list) => ({ resource: one, scopeSpans: [{ scope: { name: "shop" }, spans: list }] })) });
    lines.sort(([, left], [, right]) => (left.timeUnixNano < right.timeUnixNano ? -1 : 1));
    await send("logs", { resourceLogs: byService(lines, (one, list) => ({ resource: one, scopeLogs: [{ scope: { name: "access" }, logRecords: list }] })) });
  }
  await sendMetrics(send, random, startMs, endMs, exemplars);
  return told;
}

function access(random, atMs, minute) {
  const service = SERVICES[Math.floor(random() * random() * SERVICES.length)];
  const route = ROUTES[Math.floor(random() * ROUTES.length)];
  const bad = random() < (minute % 20 > 16 ? 0.12 : 0.01);
  const status = bad ? 503 : random() < 0.05 ? 404 : 200;
  const took = (2 + random() * 40) * (random() < 0.03 ? 12 : 1);
  const severity = bad ? 17 : status === 404 ? 13 : random() < 0.15 ? 5 : 9;
  const body = bad ? `${route} failed: upstream ${service}-db timed out after ${took.toFixed(0)} ms` : `${route} ${status} in ${took.toFixed(1)} ms`;
  const [method, path] = route.split(" ");
  return [service, { timeUnixNano: nanos(atMs), severityNumber: severity, body: { stringValue: body }, attributes: [text("method", method), text("route", path), text("status", status), text("client", `10.0.${Math.floor(random() * 4)}.${Math.floor(random() * 250)}`)] }];
}

const STEP_MS = 15_000;

/** Counters, gauges and histograms of each service, a point every 15 seconds. */
async function sendMetrics(send, random, startMs, endMs, exemplars) {
  const state = SERVICES.map((service) => ({ service, requests: ROUTES.map(() => [0, 0]), buckets: ROUTES.map(() => BOUNDS.map(() => 0).concat(0)), sums: ROUTES.map(() => 0), heap: 60 + random() * 200 }));
  const began = nanos(startMs);
  let waiting = [...exemplars];
  for (let at = startMs; at < endMs; at += STEP_MS) {
    const minute = Math.floor((at - startMs) / 60_000);
    const time = nanos(at);
    const due = waiting.filter((one) => one.atMs <= at);
    waiting = waiting.filter((one) => one.atMs > at);
    const resourceMetrics = state.map((one, index) => {
      const load = (1 + Math.sin(at / 900_000 + index)) * 12 + random() * 6 + 4;
      one.heap = Math.max(40, one.heap + (random() - 0.48) * 6 - (random() < 0.02 ? 50 : 0));
      const sums = [];
      const histograms = [];
      ROUTES.forEach((route, number) => {
        const many = Math.round((load * 15) / (number + 1));
        const bad = Math.round(many * (minute % 20 > 16 ? 0.08 : 0.004));
        one.requests[number][0] += many - bad;
        one.requests[number][1] += bad;
        for (let request = 0; request < many; request += 1) {
          const took = 0.004 + random() ** 3 * 0.09 * (index + 1) * (minute % 20 > 16 ? 3 : 1);
          one.buckets[number][BOUNDS.findIndex((bound) => took <= bound) === -1 ? BOUNDS.length : BOUNDS.findIndex((bound) => took <= bound)] += 1;
          one.sums[number] += took;
        }
        const attributes = [text("route", route)];
        const times = { startTimeUnixNano: began, timeUnixNano: time };
        ["200", "503"].forEach((status, which) => sums.push({ ...times, attributes: [...attributes, text("status", status)], asInt: String(one.requests[number][which]) }));
        const own = index === 0 && number === 3 ? due : [];
        histograms.push({
          ...times,
          attributes,
          count: String(one.buckets[number].reduce((left, right) => left + right, 0)),
          sum: one.sums[number],
          bucketCounts: one.buckets[number].map(String),
          explicitBounds: BOUNDS,
          exemplars: own.map(({ traceId, atMs, seconds }) => ({ timeUnixNano: nanos(atMs), asDouble: seconds, traceId, spanId: traceId.slice(0, 16) })),
        });
      });
      return {
        resource: resource(one.service, index),
        scopeMetrics: [
          {
            scope: { name: "shop" },
            metrics: [
              { name: "shop.requests", unit: "1", sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: sums } },
              { name: "shop.request.duration", unit: "s", histogram: { aggregationTemporality: 2, dataPoints: histograms } },
              { name: "shop.heap", unit: "By", gauge: { dataPoints: [{ timeUnixNano: time, asDouble: one.heap * 1024 * 1024 }] } },
              { name: "shop.queue.depth", gauge: { dataPoints: [{ timeUnixNano: time, asInt: String(Math.round(load * 3)) }] } },
            ],
          },
        ],
      };
    });
    await send("metrics", { resourceMetrics });
  }
}
