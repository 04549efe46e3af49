// A word-sized line without axes. Decorative: the figures beside it carry the meaning.

export function sparkPath(values: readonly number[], width: number, height: number): string {
  if (values.length < 2) return "";
  const most = Math.max(...values, 1e-9);
  const stepX = width / (values.length - 1);
  return values
    .map((value, at) => {
      const y = height - 1 - (Math.max(0, value) / most) * (height - 2);
      return `${at === 0 ? "M" : "L"}${(at * stepX).toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}

const WIDTH = 160;
const HEIGHT = 32;

export function Sparkline({ values, tone }: { values: readonly number[]; tone: number }) {
  const line = sparkPath(values, WIDTH, HEIGHT);
  return (
    <svg class={`spark tone-${tone}`} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {line && <path class="spark-area" d={`${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`} />}
      {line && <path class="spark-line" d={line} vectorEffect="non-scaling-stroke" />}
    </svg>
  );
}
