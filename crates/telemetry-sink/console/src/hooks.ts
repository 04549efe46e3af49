// Loading, refreshing and keyboard hooks shared by the screens.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, currentConnection, onConnection, type Connection } from "./api/http";

export interface Resource<T> {
  /** The last good answer; it stays while a refresh runs or fails. */
  readonly data: T | undefined;
  readonly error: ApiError | undefined;
  readonly loading: boolean;
  readonly reload: () => void;
}

export interface ResourceOptions {
  /** Loads again this often while the page is visible. */
  readonly everyMs?: number | undefined;
  /** Loads nothing while false. */
  readonly enabled?: boolean;
}

export function useResource<T>(
  load: (signal: AbortSignal) => Promise<T>,
  inputs: readonly unknown[],
  options: ResourceOptions = {},
): Resource<T> {
  const { everyMs, enabled = true } = options;
  const [state, setState] = useState<{ key: string; data?: T; error?: ApiError; loading: boolean }>({
    key: "",
    loading: enabled,
  });
  const [round, setRound] = useState(0);
  const key = JSON.stringify(inputs);
  const loadNow = useRef(load);
  loadNow.current = load;

  useEffect(() => {
    if (!enabled) {
      setState({ key, loading: false });
      return undefined;
    }
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const once = async (): Promise<void> => {
      try {
        const data = await loadNow.current(abort.signal);
        if (!abort.signal.aborted) setState({ key, data, loading: false });
      } catch (cause) {
        if (abort.signal.aborted) return;
        const error = asApiError(cause);
        setState((before) => ({ ...(before.key === key ? before : { key }), error, loading: false }));
      }
      if (everyMs !== undefined && !abort.signal.aborted) {
        timer = setTimeout(() => void whenVisible(once, abort.signal), everyMs);
      }
    };
    setState((before) => (before.key === key ? { ...before, loading: true } : { key, loading: true }));
    void once();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, enabled, everyMs, round]);

  const reload = useCallback(() => setRound((before) => before + 1), []);
  const current = state.key === key ? state : { data: undefined, error: undefined, loading: enabled };
  return { data: current.data, error: current.error, loading: current.loading, reload };
}

/** Runs at once when the page is shown, else when it next becomes visible. */
async function whenVisible(run: () => Promise<void>, signal: AbortSignal): Promise<void> {
  if (document.visibilityState === "visible") return run();
  document.addEventListener("visibilitychange", () => void whenVisible(run, signal), { once: true, signal });
}

export function asApiError(cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new ApiError(0, "unreadable", "The answer could not be read", detail, null);
}

/** The current time in milliseconds, renewed every `everyMs`. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function useConnection(): Connection {
  const [state, setState] = useState(currentConnection);
  useEffect(() => onConnection(() => setState(currentConnection())), []);
  return state;
}

/** A value that follows `value` once it has stood still for `delayMs`. */
export function useDebounced<T>(value: T, delayMs: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), delayMs);
    return () => clearTimeout(timer);
  }, [value, delayMs]);
  return settled;
}
