import { describe, expect, it } from "vitest";
import * as format from "../format";

describe("figures", () => {
  it.each([
    [0, "0"],
    [0.00004, "4.0e-5"],
    [0.01234, "0.012"],
    [1.5, "1.5"],
    [12.34, "12.3"],
    [1234.6, "1,235"],
    [null, "–"],
    [NaN, "–"],
  ])("%s reads %s", (value, expected) => expect(format.figure(value)).toBe(expected));

  it.each([
    [0, "0 B"],
    [1023, "1,023 B".replace(",", "")],
    [1024, "1 KiB"],
    [43_305_984, "41.3 MiB"],
    [-2048, "-2 KiB"],
    [undefined, "–"],
  ])("%s bytes read %s", (value, expected) => expect(format.bytes(value)).toBe(expected));

  it.each([
    [850, "850 µs"],
    [1250, "1.25 ms"],
    [999_999, "1,000 ms"],
    [3_400_000, "3.4 s"],
  ])("%s µs read %s", (value, expected) => expect(format.latency(value)).toBe(expected));

  it.each([
    [0, "0s"],
    [59.9, "59s"],
    [190, "3m 10s"],
    [3600, "1h"],
    [1_051_200, "12d 4h"],
  ])("%s seconds of uptime read %s", (value, expected) => expect(format.age(value)).toBe(expected));

  it("money respects the digits of its currency", () => {
    expect(format.money(1250, "EUR")).toBe("12.50 EUR");
    expect(format.money(1250, "JPY")).toBe("1250 JPY");
    expect(format.money(1250, "KWD")).toBe("1.250 KWD");
  });

  it("a time axis shows no more than its ticks tell apart", () => {
    const noon = new Date(2026, 0, 2, 12, 30, 15).getTime();
    expect([15, 60, 21_600, 86_400].map((step) => format.axisTime(noon, step))).toEqual([
      "12:30:15",
      "12:30",
      "01-02 12:30",
      "01-02",
    ]);
  });

  it("an instant far off is a date", () => {
    expect(format.fromNow(90_000, 0)).toBe("in 1m 30s");
    expect(format.fromNow(0, 90_000)).toBe("1m ago");
    expect(format.fromNow(Date.UTC(2100, 5, 15, 12), 0)).toBe("on 2100-06-15");
  });
  it("an instant in the future is now", () => expect(format.ago(2000, 1000)).toBe("now"));
});

describe("units of an expression", () => {
  it.each([
    ["process_resident_memory_bytes", "bytes"],
    ["histogram_quantile(0.99, rate(http_server_request_duration_seconds_bucket[1m]))", "seconds"],
    ["rate(process_cpu_seconds_total[1m])", "rate"],
    ["sum(rate(http_server_requests_total[1m]))", "rate"],
    ["process_start_time_seconds", "plain"],
    ["up", "plain"],
  ])("%s is in %s", (expression, unit) => expect(format.unitOf(expression)).toBe(unit));
});

describe("calls that are seldom", () => {
  it.each([
    [12.5, "12.5/s"],
    [0.05, "3/min"],
    [2 / 3600, "2/h"],
    [0, "0/s"],
    [null, "–"],
  ])("%s a second read %s", (value, expected) => expect(format.seldom(value)).toBe(expected));
});
