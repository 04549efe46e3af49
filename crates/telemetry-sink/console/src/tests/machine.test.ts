import { afterEach, describe, expect, it, vi } from "vitest";
import { look, missingScope, SCOPE } from "../api/machine";
import type { Wire } from "../api/wire";
import { scopesLine } from "../components/MissingScope";
import {
  hidesOthers,
  kernelMessages,
  lookNamed,
  LOOKS,
  matching,
  messagesWith,
  nodeStatus,
  ordered,
  perLevel,
  readLevels,
  rowsOf,
  TABLES,
} from "../lib/machine";
import { match } from "../lib/routes";

const NOW = 1_000_000;

/** As the server writes them. */
const PROCESSES: readonly Wire[] = [
  { pid: 7, parent: 1, name: "postgres", state: "S", user_id: 70, threads: 1, cpu_seconds: 90, resident_bytes: 2048, started_at: 940, unit: "db.service" },
  { pid: 1, parent: 0, name: "systemd", state: "S", user_id: 0, threads: 1, cpu_seconds: 1.5, resident_bytes: 4096, started_at: null, unit: null },
  { pid: 9, parent: 7, name: "backup", state: "D", user_id: null, threads: 3, cpu_seconds: 0, resident_bytes: 1024, started_at: 999, unit: "db.service" },
];
const { columns } = TABLES.processes;

function shown(row: Wire, label: string, of = columns): string {
  const column = of.find((one) => one.label === label);
  return column ? column.show(column.of(row), NOW) : "no such column";
}
const names = (rows: readonly Wire[]): unknown[] => rows.map(({ name }) => name);
const at = (label: string): number => columns.findIndex((column) => column.label === label);

describe("a list of the machine", () => {
  it("shows a row in words and units, and a dash for what is not known", () => {
    const [first, second, third] = PROCESSES as [Wire, Wire, Wire];
    expect(["Process", "Id", "State", "Memory", "Processor", "Started"].map((label) => shown(first, label))).toEqual([
      "postgres",
      "7",
      "sleeping",
      "2 KiB",
      "1m 30s",
      "1m ago",
    ]);
    expect(["Unit", "Started"].map((label) => shown(second, label))).toEqual(["–", "–"]);
    expect(["State", "User"].map((label) => shown(third, label))).toEqual(["waiting for I/O", "–"]);
  });

  it("is ordered by a column either way, what is not known last", () => {
    expect(names(ordered(PROCESSES, columns, TABLES.processes.sort))).toEqual(["systemd", "postgres", "backup"]);
    for (const down of [true, false]) {
      expect(names(ordered(PROCESSES, columns, { by: at("Started"), down })).at(-1)).toBe("systemd");
    }
    expect(names(ordered(PROCESSES, columns, { by: at("Process"), down: false }))).toEqual(["backup", "postgres", "systemd"]);
    expect(ordered(PROCESSES, columns, null)).toBe(PROCESSES);
  });

  it.each([
    ["", ["postgres", "systemd", "backup"]],
    ["db.service", ["postgres", "backup"]],
    ["DB.service waiting", ["backup"]],
    ["postgres backup", []],
    ["ago", []],
  ])("is searched for every word in its cells: %s", (find, expected) => {
    expect(names(matching(PROCESSES, columns, find))).toEqual(expected);
  });

  it("knows when others' processes are hidden", () => {
    expect([hidesOthers(PROCESSES), hidesOthers(PROCESSES.slice(0, 1))]).toEqual([false, true]);
  });

  it("takes nothing that is no list of things", () => {
    expect(rowsOf({ disks: [null, "x", { name: "sda" }] }, "disks")).toEqual([{ name: "sda" }]);
    expect(rowsOf({}, "disks")).toEqual([]);
  });

  it("of mounts says how full each is, and nothing of those without room", () => {
    const of = TABLES.mounts.columns;
    const disk = { point: "/", bytes: 1000, available_bytes: 250, files: 100, files_free: 99 };
    expect([shown(disk, "Taken", of), shown(disk, "Files taken", of)]).toEqual(["75%", "1%"]);
    const none = { point: "/proc", bytes: null, available_bytes: null, files: null, files_free: null };
    expect(shown(none, "Taken", of)).toBe("–");
  });

  it("of sockets keeps the server's order and reads states as words", () => {
    const row = { protocol: "tcp", local: "127.0.0.1:80", remote: "0.0.0.0:0", state: "close_wait", send_queue: 3, receive_queue: 0, user_id: 0 };
    expect(TABLES.sockets.sort).toBeNull();
    expect(["State", "To be sent", "User"].map((label) => shown(row, label, TABLES.sockets.columns))).toEqual(["close wait", "3 B", "0"]);
  });
});

describe("the kernel's messages", () => {
  const wire: Wire = {
    messages: [
      { number: 1, level: "info", since_boot_seconds: 0.5, at: 100.5, text: "Linux" },
      { number: 2, level: "error", since_boot_seconds: 9, at: null, text: "disk sda failed" },
      { number: 3, level: "unheard of", since_boot_seconds: 10, at: 110, text: "odd" },
    ],
  };
  const messages = kernelMessages(wire);

  it("are read newest first", () => {
    expect(messages.map(({ number, level, atMs }) => [number, level, atMs])).toEqual([
      [3, "info", 110_000],
      [2, "error", null],
      [1, "info", 100_500],
    ]);
  });

  it("are counted by level, the worst first, and kept to levels and words", () => {
    expect(perLevel(messages)).toEqual([["error", 1], ["info", 2]]);
    expect(messagesWith(messages, ["error"], "").map(({ number }) => number)).toEqual([2]);
    expect(messagesWith(messages, [], "SDA disk").map(({ number }) => number)).toEqual([2]);
    expect(messagesWith(messages, ["info"], "disk")).toEqual([]);
  });

  it.each([
    [null, []],
    ["", []],
    ["info,error", ["error", "info"]],
    ["loud", []],
  ])("of an address are of the levels it names: %s", (value, expected) => expect(readLevels(value)).toEqual(expected));
});

describe("generations", () => {
  it("are what node-agent published", () => {
    const status = nodeStatus({
      boot_id: "b",
      generations: {
        running: "2",
        generations: [{ version: "2", running: true, bad: false, tries_left: 1 }, { version: "1", running: false, bad: true }],
        boots: [{ version: "2", at: "2026-01-01T00:00:00Z", outcome: "given_up", reason: "unwell" }],
        update: { progress: "current", reboot: false },
      },
    });
    expect(status?.generations.map(({ version, triesLeft, bad }) => [version, triesLeft, bad])).toEqual([
      ["2", 1, false],
      ["1", null, true],
    ]);
    expect(status).toMatchObject({ boots: [{ reason: "unwell" }], update: { progress: "current", version: "" } });
  });

  it("are none where no image runs", () => expect(nodeStatus({ generations: null, boot_id: "b" })).toBeNull());
});

describe("the screen's address", () => {
  it("names what is looked at, units where it names nothing known", () => {
    expect(match("/machine")).toEqual({ name: "machine" });
    expect(LOOKS.map(([name]) => lookNamed(name))).toEqual(LOOKS.map(([name]) => name));
    expect([lookNamed(null), lookNamed("secrets")]).toEqual(["units", "units"]);
  });
});

describe("a look", () => {
  let asked: string[] = [];
  const answering = (scopes: readonly string[] | null, status: number, body: unknown): void => {
    asked = [];
    vi.stubGlobal("fetch", async (url: string) => {
      asked.push(url);
      if (url !== "/.auth/session") return new Response(JSON.stringify(body), { status });
      return scopes ? new Response(JSON.stringify({ name: null, email: null, scopes })) : new Response("", { status: 404 });
    });
  };
  afterEach(() => vi.unstubAllGlobals());

  it("is not asked for by a session without the scope", async () => {
    answering(["telemetry:read"], 200, {});
    expect(await look("units")).toEqual({ kind: "denied", scope: SCOPE, granted: ["telemetry:read"] });
    expect(asked).toEqual(["/.auth/session"]);
  });

  it.each([[[SCOPE]], [null]])("is asked for with it, and where nobody tells: %s", async (scopes) => {
    answering(scopes, 200, { units: [] });
    expect(await look("units")).toMatchObject({ kind: "seen", wire: { units: [] } });
    expect(asked.at(-1)).toBe("/telemetry/v1/diagnostics/units");
  });

  it("that is refused names the scope of the refusal", async () => {
    answering([SCOPE], 403, { code: "scope_missing", detail: "this needs the scope node:look" });
    expect(await look("units")).toEqual({ kind: "denied", scope: "node:look", granted: [SCOPE] });
    expect(missingScope("no")).toBe(SCOPE);
  });

  it("that the server does not know is absent", async () => {
    answering([SCOPE], 404, {});
    expect(await look("units")).toEqual({ kind: "absent" });
  });
});

describe("the line for the gateway", () => {
  it("has what an administrator was granted, and the scope", () => {
    expect(scopesLine(["openid", "email", "telemetry:read", "identity:admin"], SCOPE)).toBe(
      'scopes = ["telemetry:read", "identity:admin", "node:read"]',
    );
  });

  it("is not made of what a member holds, which is less", () => expect(scopesLine(["orders:read"], SCOPE)).toBeNull());
});
