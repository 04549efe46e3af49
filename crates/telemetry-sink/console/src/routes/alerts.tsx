// Alerts: what fires now, the rules that watch, and the silences that keep quiet.

import { useState } from "preact/hooks";
import {
  expireSilence,
  ruleGroups,
  silences as loadSilences,
  type Alert,
  type AlertState,
  type Rule,
  type RuleGroup,
  type Silence,
} from "../api/alerts";
import type { ApiError } from "../api/http";
import { Badge, Empty, Failure, Loading, Page, Panel, Stat, type Tone } from "../components/basics";
import { SilenceForm } from "../components/SilenceForm";
import { age, ago, dateTime, figure, fromNow, latency } from "../format";
import { asApiError, useNow, useResource } from "../hooks";
import { matchersText, matchesAll, type LabelMatcher } from "../lib/matchers";
import { href } from "../lib/routes";

const REFRESH_MS = 10_000;

const TONES: Readonly<Record<AlertState, Tone>> = { firing: "bad", pending: "warn", inactive: "good" };

export function AlertsScreen() {
  const rules = useResource(ruleGroups, [], { everyMs: REFRESH_MS });
  const quiet = useResource(loadSilences, [], { everyMs: REFRESH_MS });
  const [draft, setDraft] = useState<readonly LabelMatcher[] | null>(null);
  const alerts = (rules.data ?? []).flatMap((group) =>
    group.rules.flatMap((rule) => rule.alerts.map((alert) => ({ alert, rule }))),
  );
  const active = (quiet.data ?? []).filter(({ state }) => state === "active");
  const silenced = (alert: Alert): Silence | undefined => active.find(({ matchers }) => matchesAll(matchers, alert.labels));
  return (
    <Page
      title="Alerts"
      tools={
        quiet.data && (
          <button type="button" class="button" onClick={() => setDraft([])}>
            New silence
          </button>
        )
      }
    >
      {rules.error && !rules.data && <Failure error={rules.error} retry={rules.reload} />}
      {rules.data === undefined && !rules.error && <Loading what="the rules" />}
      {rules.data === null && (
        <Empty icon="bell" title="This telemetry sink evaluates no rules">
          It answers 404 to <code>/rules</code>; a newer one watches rules and shows what fires here.
        </Empty>
      )}
      {rules.data && <Totals groups={rules.data} alerts={alerts} silenced={silenced} />}
      {draft && (
        <SilenceForm
          key={matchersText(draft)}
          start={draft}
          alerts={alerts.map(({ alert }) => alert)}
          done={(created) => {
            setDraft(null);
            if (created) quiet.reload();
          }}
        />
      )}
      {rules.data && <Active alerts={alerts} silenced={silenced} silence={quiet.data ? setDraft : undefined} />}
      {quiet.data && <Silences silences={quiet.data} alerts={alerts.map(({ alert }) => alert)} reload={quiet.reload} />}
      {rules.data?.map((group) => <Group key={`${group.file} ${group.name}`} group={group} />)}
      {rules.data?.length === 0 && (
        <Empty icon="bell" title="No rules are configured">
          Name rule files in the sink's configuration; they have Prometheus' format.
        </Empty>
      )}
    </Page>
  );
}

interface Raised {
  readonly alert: Alert;
  readonly rule: Rule;
}

interface TotalsProps {
  readonly groups: readonly RuleGroup[];
  readonly alerts: readonly Raised[];
  readonly silenced: (alert: Alert) => Silence | undefined;
}

function Totals({ groups, alerts, silenced }: TotalsProps) {
  const rules = groups.flatMap((group) => group.rules);
  const firing = alerts.filter(({ alert }) => alert.state === "firing");
  const broken = rules.filter(({ health }) => health === "failing").length;
  const waiting = rules.filter(({ health }) => health === "unknown").length;
  const quiet = firing.filter(({ alert }) => silenced(alert)).length;
  const loud = firing.length - quiet;
  return (
    <dl class="stats">
      <Stat label="Firing" value={String(loud)} tone={loud > 0 ? "bad" : "good"} />
      <Stat label="Silenced" value={String(quiet)} />
      <Stat label="Pending" value={String(alerts.filter(({ alert }) => alert.state === "pending").length)} />
      <Stat label="Rules" value={String(rules.length)} sub={`${groups.length} groups`} />
      <Stat
        label="Rules that fail"
        value={String(broken)}
        tone={broken > 0 ? "bad" : undefined}
        {...(waiting > 0 ? { sub: `${waiting} not evaluated yet` } : {})}
      />
    </dl>
  );
}

interface ActiveProps {
  readonly alerts: readonly Raised[];
  readonly silenced: (alert: Alert) => Silence | undefined;
  readonly silence: ((matchers: readonly LabelMatcher[]) => void) | undefined;
}

function exactly(labels: Readonly<Record<string, string>>): LabelMatcher[] {
  return Object.entries(labels).map(([name, value]) => ({ name, op: "=", value }));
}

function Active({ alerts, silenced, silence }: ActiveProps) {
  const now = useNow(5000);
  const order = ({ alert }: Raised): number => (silenced(alert) ? 2 : alert.state === "firing" ? 0 : 1);
  const rows = alerts
    .filter(({ alert }) => alert.state !== "inactive")
    .sort((left, right) => order(left) - order(right) || (right.alert.activeMs ?? 0) - (left.alert.activeMs ?? 0));
  if (rows.length === 0) {
    return (
      <Panel title="Now">
        <Empty icon="check" title="Nothing fires">
          Every rule holds. What breaks one appears here within its evaluation interval.
        </Empty>
      </Panel>
    );
  }
  return (
    <Panel title="Now" note={`${rows.length} ${rows.length === 1 ? "alert" : "alerts"}`} flush>
      <ul class="alert-list">
        {rows.map(({ alert, rule }) => {
          const by = silenced(alert);
          return (
            <li key={JSON.stringify(alert.labels)} class={`${alert.state} ${by ? "silenced" : ""}`}>
              <div class="alert-head">
                <Badge tone={by ? "idle" : TONES[alert.state]}>{by ? "silenced" : alert.state}</Badge>
                <b>{rule.name}</b>
                <LabelList labels={alert.labels} hide={["alertname"]} />
                <span class="alert-since muted" title={dateTime(alert.activeMs)}>
                  for {age(alert.activeMs === null ? null : (now - alert.activeMs) / 1000)}
                </span>
              </div>
              <p>{alert.annotations["summary"] ?? alert.annotations["description"] ?? ""}</p>
              <p class="alert-foot muted">
                <span>
                  value <b>{figure(alert.value)}</b>
                </span>
                {alert.keptSinceMs !== null && (
                  <span title={dateTime(alert.keptSinceMs)}>
                    its condition ended {ago(alert.keptSinceMs, now)}; kept firing for {age(rule.keepFiringSeconds)}
                  </span>
                )}
                <a href={href("/explore", { q: rule.query })}>Open in metrics</a>
                {alert.labels["job"] && <a href={href("/logs", { service: alert.labels["job"] })}>Logs of {alert.labels["job"]}</a>}
                <Runbook address={alert.annotations["runbook_url"] ?? ""} />
                {by && (
                  <span>
                    until {dateTime(by.endsMs)}: {by.comment}
                  </span>
                )}
                {silence && !by && (
                  <button type="button" class="button small" onClick={() => silence(exactly(alert.labels))}>
                    Silence
                  </button>
                )}
              </p>
            </li>
          );
        })}
      </ul>
    </Panel>
  );
}

/** Rules are files of the operator's; their links are taken for links of the web only. */
function Runbook({ address }: { address: string }) {
  if (!/^https?:\/\//.test(address)) return null;
  return (
    <a href={address} data-native="" rel="noreferrer">
      Runbook
    </a>
  );
}

function LabelList({ labels, hide }: { labels: Readonly<Record<string, string>>; hide: readonly string[] }) {
  return (
    <span class="label-list">
      {Object.entries(labels)
        .filter(([name]) => !hide.includes(name))
        .map(([name, value]) => (
          <code key={name}>
            {name}={value}
          </code>
        ))}
    </span>
  );
}

interface SilencesProps {
  readonly silences: readonly Silence[];
  readonly alerts: readonly Alert[];
  readonly reload: () => void;
}

function Silences({ silences, alerts, reload }: SilencesProps) {
  const now = useNow(5000);
  const [failed, setFailed] = useState<ApiError | undefined>(undefined);
  const expire = async (id: string): Promise<void> => {
    try {
      await expireSilence(id);
      setFailed(undefined);
    } catch (cause) {
      setFailed(asApiError(cause));
    }
    reload();
  };
  if (silences.length === 0) return null;
  return (
    <Panel title="Silences" flush>
      {failed && <Failure error={failed} />}
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Silences">
        <table class="table rows">
          <thead>
            <tr>
              <th scope="col">Alerts with</th>
              <th scope="col">State</th>
              <th scope="col">Ends</th>
              <th scope="col">By</th>
              <th scope="col">Why</th>
              <th scope="col" class="num">
                Keeps quiet
              </th>
              <th scope="col">
                <span class="hidden-label">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {silences.map((silence) => (
              <tr key={silence.id} data-silence={silence.id}>
                <th scope="row" class="mono">
                  {matchersText(silence.matchers)}
                </th>
                <td>
                  <Badge tone={silence.state === "active" ? "busy" : "idle"}>{silence.state}</Badge>
                </td>
                <td title={dateTime(silence.endsMs)}>{fromNow(silence.endsMs, now)}</td>
                <td>{silence.createdBy}</td>
                <td>{silence.comment}</td>
                <td class="num">{alerts.filter(({ labels }) => matchesAll(silence.matchers, labels)).length}</td>
                <td>
                  <button type="button" class="button small" onClick={() => void expire(silence.id)}>
                    End now
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Group({ group }: { group: RuleGroup }) {
  const now = useNow(5000);
  return (
    <Panel title={group.name} note={`${group.file ? `${group.file} · ` : ""}every ${age(group.intervalSeconds)}`} flush>
      <div class="scroll-x" tabIndex={0} role="group" aria-label={`Rules of ${group.name}`}>
        <table class="table rows rule-table">
          <thead>
            <tr>
              <th scope="col">State</th>
              <th scope="col">Rule</th>
              <th scope="col">Expression</th>
              <th scope="col" class="num">
                For
              </th>
              <th scope="col" class="num">
                Evaluated
              </th>
              <th scope="col" class="num">
                Took
              </th>
            </tr>
          </thead>
          <tbody>
            {group.rules.map((rule, at) => (
              <tr key={`${at}${rule.name}`}>
                <td>
                  <RuleBadge rule={rule} />
                </td>
                <th scope="row">{rule.name}</th>
                <td class="rule-query">
                  <a class="mono" href={href("/explore", { q: rule.query })}>
                    {rule.query}
                  </a>
                  {rule.lastError && <p class="bad">{rule.lastError}</p>}
                </td>
                <td class="num">
                  {rule.kind === "alerting" ? age(rule.forSeconds) : "–"}
                  {rule.keepFiringSeconds > 0 && (
                    <small class="muted" title="It goes on firing for this long after its condition ended">
                      {" "}
                      keeps {age(rule.keepFiringSeconds)}
                    </small>
                  )}
                </td>
                <td class="num">{rule.lastEvaluationMs === null ? "not yet" : ago(rule.lastEvaluationMs, now)}</td>
                <td class="num">{latency(rule.evaluationSeconds * 1e6)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function RuleBadge({ rule }: { rule: Rule }) {
  if (rule.health === "failing") return <Badge tone="bad">fails</Badge>;
  if (rule.health === "unknown") return <Badge tone="idle">not evaluated</Badge>;
  if (rule.kind === "recording") return <Badge tone="idle">records</Badge>;
  return <Badge tone={TONES[rule.state]}>{rule.state === "inactive" ? "holds" : rule.state}</Badge>;
}
