// The lines of the log screen: the newest page, older pages on demand, and the live tail.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "./api/http";
import { logPage, nanos, readTailed, tailAddress, type StoredLine, type Tailed } from "./api/loki";
import { asApiError } from "./hooks";
import { emptyBuffer, olderThan, takeNewer, takeOlder, type LogBuffer } from "./lib/log-buffer";
import { rangeOf, type Period, type Range } from "./lib/time-range";

const PAGE = 1000;
const POLL_MS = 2000;
/** What a poll asks again of the time it asked for before: lines arrive a little after they are written. */
const OVERLAP_MS = 5000;
const POLL_LINES = 1000;
/** What a paused tail holds back; what comes after that is only counted. */
const MOST_HELD = 20_000;

export interface LogSearch {
  readonly lines: readonly StoredLine[];
  readonly version: number;
  readonly range: Range;
  readonly complete: boolean;
  readonly loading: boolean;
  readonly error: ApiError | undefined;
  /** Lines that the tail left out, at least. */
  readonly dropped: number;
  /** Lines that arrived while the tail was paused. */
  readonly held: number;
  readonly paused: boolean;
  readonly pause: (paused: boolean) => void;
  readonly more: () => void;
  readonly reload: () => void;
}

interface Session {
  readonly buffer: LogBuffer;
  readonly range: Range;
  busy: boolean;
}

export function useLogSearch(query: string, period: Period, tail: boolean): LogSearch {
  const [round, setRound] = useState(0);
  const [version, setVersion] = useState(0);
  const [error, setError] = useState<ApiError | undefined>(undefined);
  const [loading, setLoading] = useState(true);
  const key = JSON.stringify([query, period, round]);
  const session = useRef<Session>({ buffer: emptyBuffer(), range: rangeOf(period, Date.now()), busy: false });
  const abort = useRef(new AbortController());
  const changed = (): void => setVersion((before) => before + 1);

  const more = useCallback(async (): Promise<void> => {
    const current = session.current;
    if (current.busy || current.buffer.complete) return;
    current.busy = true;
    const { signal } = abort.current;
    try {
      const range = olderThan(current.buffer, nanos(current.range));
      takeOlder(current.buffer, await logPage(query, range, PAGE, signal), PAGE);
      if (!signal.aborted) setError(undefined);
    } catch (cause) {
      if (signal.aborted) return;
      // Asked again only by a person: a page that fails would be asked for without end.
      current.buffer.complete = true;
      setError(asApiError(cause));
    } finally {
      current.busy = false;
      if (!signal.aborted) {
        setLoading(false);
        changed();
      }
    }
  }, [key]);

  useEffect(() => {
    abort.current = new AbortController();
    session.current = { buffer: emptyBuffer(), range: rangeOf(period, Date.now()), busy: false };
    setLoading(true);
    setError(undefined);
    changed();
    void more();
    return () => abort.current.abort();
  }, [key]);

  const [dropped, setDropped] = useState(0);
  const waiting = useRef<{ paused: boolean; lines: StoredLine[] }>({ paused: false, lines: [] });
  const [held, setHeld] = useState(0);
  const [paused, setPaused] = useState(false);
  useEffect(() => {
    waiting.current = { paused: false, lines: [] };
    setDropped(0);
    setHeld(0);
    setPaused(false);
  }, [key, tail]);
  const arrived = useCallback((tailed: Tailed): void => {
    let left = tailed.dropped;
    if (waiting.current.paused) {
      const room = Math.max(0, MOST_HELD - waiting.current.lines.length);
      // Newest first: what there is no room for is the newest, so that what is held has no gap.
      const taken = tailed.lines.slice(Math.max(0, tailed.lines.length - room));
      waiting.current.lines.unshift(...taken);
      left += tailed.lines.length - taken.length;
      setHeld(waiting.current.lines.length);
    } else if (takeNewer(session.current.buffer, tailed.lines) > 0) changed();
    if (left > 0) setDropped((before) => before + left);
  }, []);
  const pause = useCallback((wanted: boolean): void => {
    const { lines } = waiting.current;
    waiting.current = { paused: wanted, lines: [] };
    if (!wanted && takeNewer(session.current.buffer, lines) > 0) changed();
    setHeld(0);
    setPaused(wanted);
  }, []);
  useTail(query, tail, arrived);
  const { buffer, range } = session.current;
  const reload = useCallback(() => setRound((before) => before + 1), []);
  const tailed = { dropped, held, paused, pause };
  return { lines: buffer.lines, version, range, complete: buffer.complete, loading, error, ...tailed, more, reload };
}

/** Follows a search over server-sent events; where the server has none, by asking again. */
function useTail(query: string, enabled: boolean, arrived: (tailed: Tailed) => void): void {
  useEffect(() => {
    if (!enabled) return undefined;
    const stop = new AbortController();
    const source = new EventSource(tailAddress(query));
    let heard = false;
    source.addEventListener("open", () => {
      heard = true;
    });
    source.addEventListener("lines", (event) => {
      arrived(readTailed(String(event.data)));
    });
    source.addEventListener("error", () => {
      // An open stream that broke reconnects by itself.
      if (heard && source.readyState !== EventSource.CLOSED) return;
      source.close();
      void poll(query, arrived, stop.signal);
    });
    return () => {
      source.close();
      stop.abort();
    };
  }, [query, enabled]);
}

async function poll(query: string, arrived: (tailed: Tailed) => void, signal: AbortSignal): Promise<void> {
  let since = Date.now();
  while (!signal.aborted) {
    const now = Date.now();
    const range = nanos({ startMs: since - OVERLAP_MS, endMs: now + 1000 });
    try {
      const lines = await logPage(query, range, POLL_LINES, signal);
      if (signal.aborted) return;
      arrived({ lines, dropped: 0 });
      since = now;
    } catch {
      // The next round asks for the same time again; the page says which service is away.
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
