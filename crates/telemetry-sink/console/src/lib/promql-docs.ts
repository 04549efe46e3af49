// What the completion says about PromQL's functions, aggregations and keywords.

type Entry = readonly [signature: string, meaning: string];

const WINDOWED: Readonly<Record<string, string>> = {
  avg: "Mean",
  count: "Number",
  last: "Latest",
  mad: "Median absolute deviation",
  max: "Largest",
  min: "Smallest",
  present: "1 where there are any",
  stddev: "Standard deviation",
  stdvar: "Variance",
  sum: "Sum",
};

const overTime = Object.entries(WINDOWED).map(([name, what]): [string, Entry] => [
  `${name}_over_time`,
  ["series[window]", `${what} of the samples in the window`],
]);

const AGGREGATED: Readonly<Record<string, string>> = {
  avg: "Mean",
  count: "Number",
  group: "1 for each group",
  max: "Largest",
  min: "Smallest",
  stddev: "Standard deviation",
  stdvar: "Variance",
  sum: "Sum",
};

const aggregations = Object.entries(AGGREGATED).map(([name, what]): [string, Entry] => [
  name,
  ["by (label) (series)", `${what} across series`],
]);

export const DOCS: ReadonlyMap<string, Entry> = new Map<string, Entry>([
  ...aggregations,
  ...overTime,
  ["abs", ["series", "Without its sign"]],
  ["absent", ["series", "1 when there is no such series"]],
  ["absent_over_time", ["series[window]", "1 when the window has no sample"]],
  ["bottomk", ["k, series", "The k smallest"]],
  ["ceil", ["series", "Rounded up"]],
  ["changes", ["series[window]", "How often the value changed"]],
  ["clamp", ["series, least, most", "Kept between two values"]],
  ["clamp_max", ["series, most", "Kept at or below a value"]],
  ["clamp_min", ["series, least", "Kept at or above a value"]],
  ["count_values", ['"label", series', "How many series have each value"]],
  ["day_of_month", ["time", "1 to 31, in UTC"]],
  ["day_of_week", ["time", "0 is Sunday, in UTC"]],
  ["days_in_month", ["time", "28 to 31"]],
  ["delta", ["gauge[window]", "Difference between the ends of the window"]],
  ["deriv", ["gauge[window]", "Slope per second by linear regression"]],
  ["exp", ["series", "e to the power of it"]],
  ["floor", ["series", "Rounded down"]],
  ["histogram_quantile", ["quantile, sum by (le) (rate(x_bucket[window]))", "A percentile from buckets"]],
  ["hour", ["time", "0 to 23, in UTC"]],
  ["idelta", ["gauge[window]", "Difference of the last two samples"]],
  ["increase", ["counter[window]", "How much a counter grew in the window"]],
  ["irate", ["counter[window]", "Growth per second between the last two samples"]],
  ["label_join", ['series, "to", ",", "from", …', "Joins labels into one"]],
  ["label_replace", ['series, "to", "$1", "from", "(.*)"', "A label from a part of another"]],
  ["ln", ["series", "Natural logarithm"]],
  ["log10", ["series", "Decimal logarithm"]],
  ["log2", ["series", "Binary logarithm"]],
  ["minute", ["time", "0 to 59"]],
  ["month", ["time", "1 to 12, in UTC"]],
  ["predict_linear", ["gauge[window], seconds", "The value in so many seconds, by linear regression"]],
  ["quantile", ["quantile, series", "A percentile across series"]],
  ["quantile_over_time", ["quantile, series[window]", "A percentile of the samples in the window"]],
  ["rate", ["counter[window]", "Growth per second, averaged over the window"]],
  ["resets", ["counter[window]", "How often a counter began again"]],
  ["round", ["series, to", "Rounded to the nearest multiple"]],
  ["scalar", ["series", "The value of a single series as a number"]],
  ["sgn", ["series", "-1, 0 or 1"]],
  ["sort", ["series", "Ascending by value"]],
  ["sort_desc", ["series", "Descending by value"]],
  ["sqrt", ["series", "Square root"]],
  ["time", ["", "Seconds since 1970"]],
  ["timestamp", ["series", "When the sample was taken"]],
  ["topk", ["k, series", "The k largest"]],
  ["vector", ["number", "A number as a series without labels"]],
  ["year", ["time", "In UTC"]],
]);

export const FUNCTIONS: readonly string[] = [...DOCS.keys()].sort();

export interface Hint {
  readonly text: string;
  readonly expression: string;
}

/** A better question where an expression is a bare counter or bucket: they only ever grow. */
export function hintFor(expression: string, window: string): Hint | null {
  const bare = /^([a-zA-Z_:][\w:]*)(\{[^}]*\})?$/.exec(expression.trim());
  const name = bare?.[1] ?? "";
  const series = `${name}${bare?.[2] ?? ""}`;
  if (name.endsWith("_bucket")) {
    return {
      text: "Buckets of a histogram count everything since the start.",
      expression: `histogram_quantile(0.99, sum by (le) (rate(${series}[${window}])))`,
    };
  }
  if (/_(total|count|sum)$/.test(name)) {
    return { text: "A counter only grows; its rate says what happens now.", expression: `rate(${series}[${window}])` };
  }
  return null;
}
