// ---- Points: what was measured, for the draw that the reader chose. ----

const ALL_SEEDS = "all";

function where(point) {
  return `${point.module} of layer ${point.layer}`;
}

function pointName(point) {
  return `${point.split} ${point.module} ${point.layer}`;
}

function cutText(point) {
  return `rate ${point.rate}, ${point.rank === null ? "full rank" : `rank ${point.rank}`}`;
}

function countText(point) {
  return `${grouped(point.correct)} of ${grouped(point.total)} right, accuracy ${fixed(point.accuracy)}`;
}

function intervalText(point) {
  return `${fixed(point.interval[0])} to ${fixed(point.interval[1])}`;
}

function changeLines(change) {
  if (!change) return [];
  const [low, high] = change.interval;
  return [
    `against rate 0: ${signed(change.difference)} [${signed(low)}, ${signed(high)}]`,
    `${grouped(change.gained)} gained, ${grouped(change.lost)} lost, p = ${probability(change.p_value)}`,
  ];
}

// One place of a curve: a single draw with its Wilson interval, or several seeds with their spread.
function summary(points) {
  const first = points[0];
  if (points.length === 1) {
    const turned = first.rate > 0 ? changeLines(first.change) : [];
    return {
      ...first,
      value: first.accuracy,
      low: first.interval[0],
      high: first.interval[1],
      lines: [
        `${where(first)}, ${first.split}`,
        cutText(first),
        countText(first),
        `95 % interval ${intervalText(first)}`,
        ...turned,
      ],
    };
  }
  const values = points.map((p) => p.accuracy);
  const value = values.reduce((a, b) => a + b) / values.length;
  return {
    ...first,
    value,
    low: Math.min(...values),
    high: Math.max(...values),
    beyond_noise: null,
    lines: [
      `${where(first)}, ${first.split}`,
      cutText(first),
      `mean accuracy ${fixed(value)} over ${points.length} seeds`,
      ...points
        .slice(0, 8)
        .map(
          (p) => `seed ${p.seed}: ${grouped(p.correct)} / ${grouped(p.total)}, ${intervalText(p)}`,
        ),
    ],
  };
}

class Selection {
  constructor(points) {
    this.points = points.filter((p) => typeof p.accuracy === "number");
    this.rates = distinct(this.points, "rate");
    this.layers = distinct(this.points, "layer");
    this.modules = distinct(this.points, "module");
    this.splits = distinct(this.points, "split");
    this.allShots = distinct(this.points, "shots");
    this.seeds = distinct(this.points, "seed");
    this.shots = this.allShots[this.allShots.length - 1];
    this.seed = this.seeds.length > 1 ? ALL_SEEDS : this.seeds[0];
    this.listeners = [];
  }

  changed() {
    this.listeners.forEach((listener) => listener());
  }

  // By name of the series, then by rate.
  summaries() {
    const groups = new Map();
    for (const p of this.points) {
      if (p.shots !== this.shots || (this.seed !== ALL_SEEDS && p.seed !== this.seed)) continue;
      const name = pointName(p);
      if (!groups.has(name)) groups.set(name, new Map());
      const rates = groups.get(name);
      if (!rates.has(p.rate)) rates.set(p.rate, []);
      rates.get(p.rate).push(p);
    }
    const ordered = (rates) =>
      [...rates.keys()].sort((a, b) => a - b).map((rate) => summary(rates.get(rate)));
    return new Map([...groups].map(([name, rates]) => [name, ordered(rates)]));
  }

  // Selects of shots and seed, the same wherever they stand.
  controls() {
    const made = [];
    const select = (name, options, get, set) => {
      const label = choose(name, options, (value) => {
        set(value);
        this.changed();
      });
      const sync = () => {
        label.querySelector("select").selectedIndex = options.findIndex(([v]) => v === get());
      };
      this.listeners.push(sync);
      sync();
      made.push(label);
    };
    if (this.allShots.length > 1)
      select(
        "shots",
        this.allShots.map((s) => [s, String(s)]),
        () => this.shots,
        (s) => {
          this.shots = s;
        },
      );
    if (this.seeds.length > 1)
      select(
        "seed",
        [[ALL_SEEDS, "all"], ...this.seeds.map((s) => [s, String(s)])],
        () => this.seed,
        (s) => {
          this.seed = s;
        },
      );
    return made;
  }

  drawText() {
    const parts = this.allShots.length > 1 ? [`${this.shots} shots`] : [];
    if (this.seeds.length > 1)
      parts.push(this.seed === ALL_SEEDS ? "all seeds" : `seed ${this.seed}`);
    return parts.join(", ");
  }
}
