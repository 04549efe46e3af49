// Makes a silence: which alerts, for how long, and why. What it will keep quiet is said before it is made.

import { useState } from "preact/hooks";
import { createSilence, type Alert } from "../api/alerts";
import type { ApiError } from "../api/http";
import { session } from "../api/session";
import { asApiError, useResource } from "../hooks";
import { matchersText, matchesAll, parseMatchers, type LabelMatcher } from "../lib/matchers";
import { Failure, Panel } from "./basics";

const DURATIONS = [
  ["30 minutes", 30],
  ["2 hours", 120],
  ["8 hours", 480],
  ["1 day", 1440],
  ["1 week", 10_080],
] as const;

interface FormProps {
  readonly start: readonly LabelMatcher[];
  readonly alerts: readonly Alert[];
  readonly done: (created: boolean) => void;
}

export function SilenceForm({ start, alerts, done }: FormProps) {
  const person = useResource(session, []);
  const [text, setText] = useState(matchersText(start));
  const [minutes, setMinutes] = useState(120);
  const [comment, setComment] = useState("");
  const [failed, setFailed] = useState<ApiError | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const parsed = parseMatchers(text);
  const matching = "matchers" in parsed ? alerts.filter(({ labels }) => matchesAll(parsed.matchers, labels)).length : 0;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!("matchers" in parsed) || comment.trim() === "") return;
    const startsMs = Date.now();
    const createdBy = person.data?.email || person.data?.name || "console";
    setBusy(true);
    try {
      const endsMs = startsMs + minutes * 60_000;
      await createSilence({ matchers: parsed.matchers, startsMs, endsMs, createdBy, comment: comment.trim() });
      done(true);
    } catch (cause) {
      setFailed(asApiError(cause));
      setBusy(false);
    }
  };
  return (
    <Panel title="New silence">
      {failed && <Failure error={failed} />}
      <form class="silence-form" onSubmit={(event) => void submit(event)}>
        <label class="wide">
          Alerts with these labels
          <input
            type="text"
            name="matchers"
            class="mono"
            value={text}
            placeholder='alertname="DiskFull", job=~"edge-.*"'
            spellcheck={false}
            autoComplete="off"
            aria-describedby="silence-matches"
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <span id="silence-matches" class={"problem" in parsed && text !== "" ? "warn" : "muted"}>
            {"problem" in parsed ? parsed.problem : `Keeps ${matching} of the present alerts quiet.`}
          </span>
        </label>
        <label>
          For
          <select value={String(minutes)} onChange={(event) => setMinutes(Number(event.currentTarget.value))}>
            {DURATIONS.map(([name, value]) => (
              <option key={value} value={String(value)}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="wide">
          Why
          <input
            type="text"
            name="comment"
            required
            maxLength={500}
            value={comment}
            onInput={(event) => setComment(event.currentTarget.value)}
          />
        </label>
        <p class="silence-actions">
          <button type="submit" class="button primary" disabled={busy || "problem" in parsed || comment.trim() === ""}>
            Silence
          </button>
          <button type="button" class="button" onClick={() => done(false)}>
            Cancel
          </button>
        </p>
      </form>
    </Panel>
  );
}
