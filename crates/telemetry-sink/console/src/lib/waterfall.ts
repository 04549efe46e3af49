// Lays a trace out as a waterfall: a depth-first tree in start order, bars as fractions of the
// trace's own duration, and the critical path. Spans may come in any order, lack their parent, or
// (from a broken sender) name each other as parents; every span is laid out exactly once.

export interface Span {
  readonly spanId: string;
  readonly parentId: string | null;
  readonly service: string;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly error: boolean;
}

export interface Row<S extends Span> {
  readonly span: S;
  readonly depth: number;
  readonly children: number;
  /** Fractions of the whole trace, in 0..=1. */
  readonly left: number;
  readonly width: number;
  /** Time during which no child of this span was running. */
  readonly selfUs: number;
  readonly critical: boolean;
}

export interface Waterfall<S extends Span> {
  readonly rows: readonly Row<S>[];
  readonly startUs: number;
  readonly durationUs: number;
  readonly services: readonly string[];
}

export function layOut<S extends Span>(spans: readonly S[]): Waterfall<S> {
  const startUs = spans.reduce((least, span) => Math.min(least, span.startUs), Infinity);
  const endUs = spans.reduce((most, span) => Math.max(most, endOf(span)), -Infinity);
  if (spans.length === 0) return { rows: [], startUs: 0, durationUs: 0, services: [] };
  const durationUs = Math.max(1, endUs - startUs);
  const { roots, children } = family(spans);
  const critical = new Set<string>();
  const rows: Row<S>[] = [];
  const placed = new Set<string>();

  const place = (root: S): void => {
    markCritical(root, children, critical);
    const stack: { span: S; depth: number }[] = [{ span: root, depth: 0 }];
    for (let next = stack.pop(); next; next = stack.pop()) {
      const { span, depth } = next;
      if (placed.has(span.spanId)) continue;
      placed.add(span.spanId);
      const own = children.get(span.spanId) ?? [];
      rows.push({
        span,
        depth,
        children: own.length,
        left: (span.startUs - startUs) / durationUs,
        width: span.durationUs / durationUs,
        selfUs: selfTime(span, own),
        critical: critical.has(span.spanId),
      });
      for (const child of [...own].reverse()) stack.push({ span: child, depth: depth + 1 });
    }
  };
  roots.forEach(place);
  // Only members of a parent cycle are left; each becomes a root of its own.
  byStart(spans).forEach((span) => {
    if (!placed.has(span.spanId)) place(span);
  });
  const services = [...new Set(rows.map((row) => row.span.service))];
  return { rows, startUs, durationUs, services };
}

function endOf(span: Span): number {
  return span.startUs + span.durationUs;
}

function byStart<S extends Span>(spans: readonly S[]): S[] {
  return [...spans].sort((left, right) => left.startUs - right.startUs || right.durationUs - left.durationUs);
}

function family<S extends Span>(spans: readonly S[]): { roots: S[]; children: Map<string, S[]> } {
  const known = new Set(spans.map((span) => span.spanId));
  const children = new Map<string, S[]>();
  const roots: S[] = [];
  for (const span of byStart(spans)) {
    if (span.parentId === null || !known.has(span.parentId)) {
      roots.push(span);
      continue;
    }
    const siblings = children.get(span.parentId);
    if (siblings) siblings.push(span);
    else children.set(span.parentId, [span]);
  }
  return { roots, children };
}

/**
 * Walks back from the end of a span: the child that finished last before the cursor held it up.
 * Work that starts after its parent ended (a queued job) is not what the parent waited for.
 */
function markCritical<S extends Span>(root: S, children: Map<string, S[]>, critical: Set<string>): void {
  const pending: S[] = [root];
  for (let span = pending.pop(); span; span = pending.pop()) {
    if (critical.has(span.spanId)) continue;
    critical.add(span.spanId);
    const candidates = [...(children.get(span.spanId) ?? [])].sort((left, right) => endOf(right) - endOf(left));
    let cursor = endOf(span);
    for (const child of candidates) {
      if (endOf(child) <= cursor) {
        pending.push(child);
        cursor = child.startUs;
      }
    }
  }
}

function selfTime(span: Span, children: readonly Span[]): number {
  let covered = 0;
  let until = span.startUs;
  for (const child of children) {
    const from = Math.max(child.startUs, until);
    const to = Math.min(endOf(child), endOf(span));
    if (to > from) {
      covered += to - from;
      until = to;
    }
  }
  return span.durationUs - covered;
}

/** Round tick offsets for the time axis, in microseconds from the start of the trace. */
export function ticks(durationUs: number, wanted = 5): number[] {
  const rough = durationUs / wanted;
  const magnitude = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-3)));
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough) ?? rough;
  const result: number[] = [];
  for (let at = 0; at < durationUs; at += step) result.push(at);
  return result;
}

interface Searchable extends Span {
  readonly attributes: readonly { readonly key: string; readonly value: string }[];
}

/** Spans in which every word stands, in whatever they carry; null when nothing is looked for. */
export function matching<S extends Searchable>(rows: readonly Row<S>[], text: string): ReadonlySet<string> | null {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) return null;
  const found = rows.filter(({ span }) => {
    const carried = span.attributes.map(({ key, value }) => `${key}=${value}`).join(" ");
    const all = `${span.service} ${span.name} ${span.spanId} ${carried}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
  return new Set(found.map(({ span }) => span.spanId));
}
