// What a look at a machine shows: columns of its lists, their order, search, and the kernel's levels. Pure.

import { age, ago, bytes, count, dateTime, figure, MISSING, percent } from "../format";
import { text, whole, type Wire } from "../api/wire";

export const LOOKS = [
  ["units", "Units"],
  ["processes", "Processes"],
  ["sockets", "Sockets"],
  ["disks", "Disks"],
  ["mounts", "Mounts"],
  ["network", "Network"],
  ["kernel", "Kernel"],
  ["generations", "Generations"],
] as const;

export type LookName = (typeof LOOKS)[number][0];
export type TableName = Exclude<LookName, "kernel" | "generations">;

export function lookNamed(name: string | null): LookName {
  return LOOKS.find(([known]) => known === name)?.[0] ?? "units";
}

type Value = string | number | boolean | null;

export interface Column {
  readonly label: string;
  readonly of: (row: Wire) => Value;
  readonly show: (value: Value, nowMs: number) => string;
  readonly number?: boolean;
  readonly mono?: boolean;
  /** More about the value, for who points at it. */
  readonly title?: (value: Value) => string;
}

export interface Sort {
  readonly by: number;
  readonly down: boolean;
}

export interface MachineTable {
  /** The list's key in the answer. */
  readonly list: string;
  /** Things counted, as in "3 of 40 units". */
  readonly things: string;
  readonly columns: readonly Column[];
  /** Null keeps the server's order. */
  readonly sort: Sort | null;
}

function field(key: string): (row: Wire) => Value {
  return (row) => {
    const value = row[key];
    return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
  };
}

const plain = (value: Value): string => (value === null || value === "" ? MISSING : String(value));
const amount = (how: (value: number | null) => string) => (value: Value): string =>
  how(typeof value === "number" ? value : null);
const yesNo = (yes: string, no: string) => (value: Value): string => (value === null ? MISSING : value ? yes : no);

function words(label: string, key: string, mono = false): Column {
  return { label, of: field(key), show: plain, mono };
}
function sized(label: string, key: string): Column {
  return { label, of: field(key), show: amount(bytes), number: true };
}
function counted(label: string, key: string): Column {
  return { label, of: field(key), show: amount(count), number: true };
}
/** A number that names something. */
function numbered(label: string, key: string): Column {
  return { label, of: field(key), show: plain, number: true };
}
function spent(label: string, key: string): Column {
  const show = (value: number | null): string => (value !== null && value < 60 ? `${figure(value)}s` : age(value));
  return { label, of: field(key), show: amount(show), number: true };
}
function since(label: string, key: string): Column {
  const millis = (value: Value): number | null => (typeof value === "number" ? value * 1000 : null);
  return {
    label,
    of: field(key),
    show: (value, nowMs) => ago(millis(value), nowMs),
    number: true,
    title: (value) => dateTime(millis(value)),
  };
}
function choice(label: string, key: string, yes: string, no: string): Column {
  return { label, of: field(key), show: yesNo(yes, no) };
}

/** The kernel's letters (proc_pid_stat(5)). */
const STATES: Readonly<Record<string, string>> = {
  R: "running",
  S: "sleeping",
  D: "waiting for I/O",
  Z: "ended, not collected",
  T: "stopped",
  t: "traced",
  I: "idle",
  X: "dead",
};

/** How much of a file system is taken, of what may be taken at all. */
export function taken(row: Wire): number | null {
  const all = row["bytes"];
  const free = row["available_bytes"];
  return typeof all === "number" && typeof free === "number" && all > 0 ? Math.max(0, 1 - free / all) : null;
}

function filesTaken(row: Wire): number | null {
  const all = row["files"];
  const free = row["files_free"];
  return typeof all === "number" && typeof free === "number" && all > 0 ? Math.max(0, 1 - free / all) : null;
}

export const TABLES: Readonly<Record<TableName, MachineTable>> = {
  units: {
    list: "units",
    things: "units",
    columns: [
      words("Unit", "name"),
      choice("State", "running", "running", "not running"),
      counted("Processes", "processes"),
      counted("Threads", "threads"),
      spent("Processor", "cpu_seconds"),
      sized("Memory", "resident_bytes"),
      since("Started", "started_at"),
      words("Invocation", "invocation", true),
    ],
    sort: { by: 5, down: true },
  },
  processes: {
    list: "processes",
    things: "processes",
    columns: [
      words("Process", "name"),
      numbered("Id", "pid"),
      { label: "State", of: field("state"), show: (value) => STATES[String(value)] ?? plain(value) },
      words("Unit", "unit"),
      numbered("User", "user_id"),
      counted("Threads", "threads"),
      spent("Processor", "cpu_seconds"),
      sized("Memory", "resident_bytes"),
      since("Started", "started_at"),
      numbered("Parent", "parent"),
    ],
    sort: { by: 7, down: true },
  },
  sockets: {
    list: "sockets",
    things: "sockets",
    columns: [
      words("Local", "local", true),
      words("Remote", "remote", true),
      words("Protocol", "protocol"),
      { label: "State", of: field("state"), show: (value) => plain(value).replaceAll("_", " ") },
      sized("To be sent", "send_queue"),
      sized("To be read", "receive_queue"),
      numbered("User", "user_id"),
    ],
    sort: null,
  },
  disks: {
    list: "disks",
    things: "disks",
    columns: [
      words("Disk", "name"),
      words("Model", "model"),
      sized("Size", "bytes"),
      choice("Kind", "rotational", "spinning", "solid state"),
      choice("Removable", "removable", "yes", "no"),
      choice("Writable", "read_only", "no", "yes"),
    ],
    sort: { by: 0, down: false },
  },
  mounts: {
    list: "mounts",
    things: "mounts",
    columns: [
      words("Mounted at", "point", true),
      words("Device", "device", true),
      words("Kind", "kind"),
      sized("Size", "bytes"),
      sized("Free", "available_bytes"),
      { label: "Taken", of: taken, show: amount(percent), number: true },
      { label: "Files taken", of: filesTaken, show: amount(percent), number: true },
      words("Options", "options", true),
    ],
    sort: { by: 5, down: true },
  },
  network: {
    list: "interfaces",
    things: "interfaces",
    columns: [
      words("Interface", "name"),
      words("State", "state"),
      words("Hardware address", "hardware_address", true),
      numbered("MTU", "mtu"),
      { label: "Speed", of: field("megabits"), show: (value) => (value === null ? MISSING : `${plain(value)} Mbit/s`), number: true },
      sized("Received", "received_bytes"),
      sized("Sent", "sent_bytes"),
      counted("Errors", "errors"),
    ],
    sort: { by: 0, down: false },
  },
};

/** A list of an answer; what is no object in it is left out. */
export function rowsOf(wire: Wire, list: string): readonly Wire[] {
  const found = wire[list];
  if (!Array.isArray(found)) return [];
  return found.filter((row): row is Wire => typeof row === "object" && row !== null);
}

/** Every word must be in some cell as it is shown. */
export function matching(rows: readonly Wire[], columns: readonly Column[], find: string): readonly Wire[] {
  const words = find.toLowerCase().split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    // Times are not searched: how long ago changes while one reads.
    const cells = columns.map(({ of, show, title }) => (title ? "" : show(of(row), 0))).join("\n").toLowerCase();
    return words.every((word) => cells.includes(word));
  });
}

/** What is not known comes last, whichever way the rest goes. */
export function ordered(rows: readonly Wire[], columns: readonly Column[], sort: Sort | null): readonly Wire[] {
  const column = sort === null ? undefined : columns[sort.by];
  if (sort === null || column === undefined) return rows;
  const sign = sort.down ? -1 : 1;
  return [...rows].sort((left, right) => {
    const [one, other] = [column.of(left), column.of(right)];
    if (one === null || other === null) return Number(one === null) - Number(other === null);
    return sign * (typeof one === "string" ? one.localeCompare(String(other), "en", { numeric: true }) : Number(one) - Number(other));
  });
}

/** Whether processes of others are hidden: the first process runs on every machine. */
export function hidesOthers(processes: readonly Wire[]): boolean {
  return !processes.some((row) => row["pid"] === 1);
}

/** As the server names them, the worst first. */
export const LEVELS = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"] as const;
export type Level = (typeof LEVELS)[number];

export interface KernelMessage {
  readonly number: number;
  readonly level: Level;
  readonly atMs: number | null;
  readonly sinceBootSeconds: number;
  readonly text: string;
}

/** Newest first. */
export function kernelMessages(wire: Wire): readonly KernelMessage[] {
  return rowsOf(wire, "messages")
    .map((row): KernelMessage => {
      const at = row["at"];
      return {
        number: whole(row, "number"),
        level: LEVELS.find((level) => level === row["level"]) ?? "info",
        atMs: typeof at === "number" ? at * 1000 : null,
        sinceBootSeconds: whole(row, "since_boot_seconds"),
        text: text(row, "text"),
      };
    })
    .reverse();
}

export function perLevel(messages: readonly KernelMessage[]): readonly (readonly [Level, number])[] {
  return LEVELS.map((level) => [level, messages.filter((one) => one.level === level).length] as const).filter(
    ([, found]) => found > 0,
  );
}

/** The levels of an address; none means all. */
export function readLevels(value: string | null): readonly Level[] {
  const named = (value ?? "").split(",");
  return LEVELS.filter((level) => named.includes(level));
}

export function messagesWith(messages: readonly KernelMessage[], levels: readonly Level[], find: string): readonly KernelMessage[] {
  const words = find.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return messages.filter(({ level, text: said }) => {
    const lower = said.toLowerCase();
    return (levels.length === 0 || levels.includes(level)) && words.every((word) => lower.includes(word));
  });
}

export interface Generation {
  readonly version: string;
  readonly running: boolean;
  readonly bad: boolean;
  readonly triesLeft: number | null;
}

export interface Boot {
  readonly version: string;
  readonly at: string;
  readonly outcome: string;
  readonly reason: string;
}

export interface NodeStatus {
  readonly running: string;
  readonly generations: readonly Generation[];
  /** The latest first. */
  readonly boots: readonly Boot[];
  readonly update: { readonly progress: string; readonly version: string; readonly reason: string; readonly at: string };
}

/** What node-agent published; null where no image runs. */
export function nodeStatus(wire: Wire): NodeStatus | null {
  const status = wire["generations"];
  if (typeof status !== "object" || status === null) return null;
  const known = status as Wire;
  const update = (known["update"] ?? {}) as Wire;
  return {
    running: text(known, "running"),
    generations: rowsOf(known, "generations").map((row) => ({
      version: text(row, "version"),
      running: row["running"] === true,
      bad: row["bad"] === true,
      triesLeft: typeof row["tries_left"] === "number" ? row["tries_left"] : null,
    })),
    boots: rowsOf(known, "boots").map((row) => ({
      version: text(row, "version"),
      at: text(row, "at"),
      outcome: text(row, "outcome"),
      reason: text(row, "reason"),
    })),
    update: {
      progress: text(update, "progress"),
      version: text(update, "version"),
      reason: text(update, "reason"),
      at: text(update, "at"),
    },
  };
}
