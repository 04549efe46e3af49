import { describe, expect, it } from "vitest";
import { matchersText, matchesAll, parseMatchers, type LabelMatcher } from "../lib/matchers";

function read(text: string): readonly LabelMatcher[] {
  const parsed = parseMatchers(text);
  if ("problem" in parsed) throw new Error(parsed.problem);
  return parsed.matchers;
}

describe("label matchers", () => {
  it("are read as people and Prometheus write them", () => {
    expect(read('{alertname="Disk, \\"full\\"", job=~"edge-.*",severity!=page}')).toEqual([
      { name: "alertname", op: "=", value: 'Disk, "full"' },
      { name: "job", op: "=~", value: "edge-.*" },
      { name: "severity", op: "!=", value: "page" },
    ]);
  });

  it("survive being written", () => {
    const matchers = read('a="x\\\\y", b!~"[a-z]+"');
    expect(read(matchersText(matchers))).toEqual(matchers);
  });

  it.each([
    ["", "name at least one label"],
    ["lonely", 'write lonely as name="value"'],
    ['a="1" b="2"', 'put a comma before b="2"'],
    ['a=~"("', "( is no regular expression"],
  ])("that cannot be read say what to change: %s", (text, problem) => expect(parseMatchers(text)).toEqual({ problem }));

  it.each([
    ['job="edge"', true],
    ['job=~"ed"', false],
    ['job=~"ed.*"', true],
    ['job!="edge"', false],
    ['absent=""', true],
    ['job="edge", zone="b"', false],
  ])("%s", (text, expected) => expect(matchesAll(read(text), { job: "edge", zone: "a" })).toBe(expected));
});
