import { describe, expect, it } from "vitest";
import { serviceTone, TONES } from "../lib/tone";

describe("colours of services", () => {
  it("differ as long as there are any left, and stay", () => {
    const five = ["edge-gateway", "core-api", "async-worker", "identity-provider", "telemetry-sink"];
    const shop = ["storefront", "checkout", "catalogue", "payments", "inventory", "recommender", "mailer"];
    const tones = [...five, ...shop].map(serviceTone);
    expect(new Set(tones).size).toBe(TONES);
    const more = serviceTone("an eighth");
    expect(more).toBeGreaterThanOrEqual(five.length);
    expect(more).toBeLessThan(TONES);
    expect([...five, ...shop].map(serviceTone)).toEqual(tones);
  });
});
