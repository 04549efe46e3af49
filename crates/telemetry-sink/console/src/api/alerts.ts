// Rules and alerts as the sink's Prometheus API shows them, and silences as its Alertmanager API keeps them.

import type { Labels } from "./prometheus";
import { get, optional, post, remove } from "./http";
import { instant } from "./wire";
import type { LabelMatcher } from "../lib/matchers";

const PROMETHEUS = "/telemetry/prometheus/api/v1";
const ALERTMANAGER = "/telemetry/alertmanager/api/v2";

export type AlertState = "firing" | "pending" | "inactive";

export interface Alert {
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly state: AlertState;
  readonly activeMs: number | null;
  /** Since when it fires only because its rule keeps it firing; null while its condition holds. */
  readonly keptSinceMs: number | null;
  readonly value: number;
}

export type RuleHealth = "good" | "failing" | "unknown";

export interface Rule {
  readonly kind: "alerting" | "recording";
  readonly name: string;
  readonly query: string;
  readonly forSeconds: number;
  readonly keepFiringSeconds: number;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly state: AlertState;
  /** Unknown until it was evaluated for the first time. */
  readonly health: RuleHealth;
  readonly lastError: string;
  readonly lastEvaluationMs: number | null;
  readonly evaluationSeconds: number;
  readonly alerts: readonly Alert[];
}

export interface RuleGroup {
  readonly name: string;
  readonly file: string;
  readonly intervalSeconds: number;
  readonly rules: readonly Rule[];
}

export interface WireAlert {
  readonly labels: Labels;
  readonly annotations?: Labels;
  readonly state: string;
  readonly activeAt?: string;
  readonly keepFiringSince?: string;
  readonly value?: string;
}

export interface WireRule {
  readonly type: string;
  readonly name: string;
  readonly query: string;
  readonly duration?: number;
  readonly keepFiringFor?: number;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  readonly state?: string;
  readonly health?: string;
  readonly lastError?: string;
  readonly lastEvaluation?: string;
  readonly evaluationTime?: number;
  readonly alerts?: readonly WireAlert[];
}

interface WireRules {
  readonly data?: {
    readonly groups?: readonly {
      readonly name: string;
      readonly file?: string;
      readonly interval?: number;
      readonly rules: readonly WireRule[];
    }[];
  };
}

function state(text: string | undefined): AlertState {
  return text === "firing" || text === "pending" ? text : "inactive";
}

function toAlert(wire: WireAlert): Alert {
  return {
    labels: wire.labels,
    annotations: wire.annotations ?? {},
    state: state(wire.state),
    activeMs: instant(wire.activeAt),
    keptSinceMs: instant(wire.keepFiringSince),
    value: Number(wire.value ?? NaN),
  };
}

const HEALTH: Readonly<Record<string, RuleHealth>> = { ok: "good", err: "failing" };

export function readRule(wire: WireRule): Rule {
  return {
    kind: wire.type === "recording" ? "recording" : "alerting",
    name: wire.name,
    query: wire.query,
    forSeconds: wire.duration ?? 0,
    keepFiringSeconds: wire.keepFiringFor ?? 0,
    labels: wire.labels ?? {},
    annotations: wire.annotations ?? {},
    state: state(wire.state),
    health: HEALTH[wire.health ?? ""] ?? "unknown",
    lastError: wire.lastError ?? "",
    lastEvaluationMs: instant(wire.lastEvaluation),
    evaluationSeconds: wire.evaluationTime ?? 0,
    alerts: (wire.alerts ?? []).map(toAlert),
  };
}

/** Null where the server evaluates no rules. */
export async function ruleGroups(signal?: AbortSignal): Promise<readonly RuleGroup[] | null> {
  const answer = await optional(get<WireRules>(`${PROMETHEUS}/rules`, {}, signal));
  if (!answer) return null;
  return (answer.data?.groups ?? []).map((group) => ({
    name: group.name,
    file: group.file ?? "",
    intervalSeconds: group.interval ?? 0,
    rules: group.rules.map(readRule),
  }));
}

export interface Silence {
  readonly id: string;
  readonly state: "active" | "pending" | "expired";
  readonly matchers: readonly LabelMatcher[];
  readonly startsMs: number | null;
  readonly endsMs: number | null;
  readonly createdBy: string;
  readonly comment: string;
}

interface WireMatcher {
  readonly name: string;
  readonly value: string;
  readonly isRegex: boolean;
  readonly isEqual?: boolean;
}

interface WireSilence {
  readonly id: string;
  readonly status?: { readonly state?: string };
  readonly matchers: readonly WireMatcher[];
  readonly startsAt: string;
  readonly endsAt: string;
  readonly createdBy?: string;
  readonly comment?: string;
}

/** Those that hold or will hold; null where the server keeps none. */
export async function silences(signal?: AbortSignal): Promise<readonly Silence[] | null> {
  const answer = await optional(get<readonly WireSilence[]>(`${ALERTMANAGER}/silences`, {}, signal));
  if (!answer) return null;
  return answer
    .map((wire): Silence => {
      const known = wire.status?.state;
      return {
        id: wire.id,
        state: known === "pending" || known === "expired" ? known : "active",
        matchers: wire.matchers.map(({ name, value, isRegex, isEqual = true }) => {
          return { name, value, op: `${isEqual ? (isRegex ? "=~" : "=") : isRegex ? "!~" : "!="}` as const };
        }),
        startsMs: instant(wire.startsAt),
        endsMs: instant(wire.endsAt),
        createdBy: wire.createdBy ?? "",
        comment: wire.comment ?? "",
      };
    })
    .filter((silence) => silence.state !== "expired");
}

export interface NewSilence {
  readonly matchers: readonly LabelMatcher[];
  readonly startsMs: number;
  readonly endsMs: number;
  readonly createdBy: string;
  readonly comment: string;
}

export async function createSilence(wanted: NewSilence): Promise<void> {
  await post(`${ALERTMANAGER}/silences`, {
    matchers: wanted.matchers.map(({ name, value, op }): WireMatcher => {
      return { name, value, isRegex: op.endsWith("~"), isEqual: op.startsWith("=") };
    }),
    startsAt: new Date(wanted.startsMs).toISOString(),
    endsAt: new Date(wanted.endsMs).toISOString(),
    createdBy: wanted.createdBy,
    comment: wanted.comment,
  });
}

export async function expireSilence(id: string): Promise<void> {
  await remove(`${ALERTMANAGER}/silence/${encodeURIComponent(id)}`);
}
