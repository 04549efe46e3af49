// Where the rows of a very long list stand. Only those in view become elements, so a million cost no more
// than fifty. Browsers cap the height of an element (Firefox at 17.9 million pixels): beyond `TALLEST` the
// scroll bar moves over a shorter box and each of its pixels stands for several.

export interface RowPlan {
  readonly count: number;
  /** Of all rows, in pixels. */
  readonly total: number;
  readonly top: (index: number) => number;
  /** The row at an offset from the top, within the list. */
  readonly at: (offset: number) => number;
}

/** An opened row is taller by what is shown below it. */
export interface OpenRow {
  readonly index: number;
  readonly height: number;
}

export function planRows(count: number, height: number, open: OpenRow | null = null): RowPlan {
  return opening(
    { count, total: count * height, top: (index) => index * height, at: (offset) => clamp(Math.floor(offset / height), count) },
    open,
  );
}

/** Rows of different heights: their tops are summed once. */
export function planUneven(heights: Iterable<number>, count: number, open: OpenRow | null = null): RowPlan {
  const tops = new Float64Array(count + 1);
  let next = 0;
  for (const height of heights) {
    if (next === count) break;
    tops[next + 1] = (tops[next] ?? 0) + height;
    next += 1;
  }
  const top = (index: number): number => tops[index] ?? 0;
  const at = (offset: number): number => {
    let [low, high] = [0, Math.max(0, count - 1)];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (top(middle) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  return opening({ count, total: top(count), top, at }, open);
}

function opening(plan: RowPlan, open: OpenRow | null): RowPlan {
  if (open === null || open.index >= plan.count) return plan;
  const edge = plan.top(open.index + 1);
  return {
    count: plan.count,
    total: plan.total + open.height,
    top: (index) => plan.top(index) + (index > open.index ? open.height : 0),
    at: (offset) => {
      if (offset < edge) return plan.at(offset);
      return offset < edge + open.height ? open.index : plan.at(offset - open.height);
    },
  };
}

function clamp(index: number, count: number): number {
  return Math.max(0, Math.min(index, count - 1));
}

const TALLEST = 8_000_000;

export interface ScrollMap {
  /** Of the box that is scrolled. */
  readonly height: number;
  readonly toOffset: (scrollTop: number) => number;
  readonly toScroll: (offset: number) => number;
}

export function mapScroll(total: number, viewport: number, tallest = TALLEST): ScrollMap {
  if (total <= tallest) return { height: total, toOffset: (scrollTop) => scrollTop, toScroll: (offset) => offset };
  const scale = (total - viewport) / Math.max(1, tallest - viewport);
  return {
    height: tallest,
    toOffset: (scrollTop) => scrollTop * scale,
    toScroll: (offset) => offset / scale,
  };
}
