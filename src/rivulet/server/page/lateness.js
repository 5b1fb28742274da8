// How late every word is: from its end in the microphone to its letters on the page.

const STEPS = 15; // columns; the last one holds all that is later
const RANGES_S = [1.5, 3, 6, 12]; // the axis is as long as nine of ten words need
const WIDTH = 300;
const HEIGHT = 84;

export class Lateness {
  constructor() {
    this.clear();
  }

  clear() {
    this.shown = []; // of the open segment: {text, at}
    this.values = []; // ms, in the order of the words
  }

  /** Sample 0 of the stream was in the microphone at `ms`. */
  begin(ms) {
    this.origin = ms;
    this.shown = [];
  }

  end() {
    this.origin = undefined;
  }

  /** Remember when each word of the open segment first stood where it stands. */
  partial(words, now) {
    this.shown = words.map((text, i) => (this.shown[i]?.text === text ? this.shown[i] : { text, at: now }));
  }

  /** A finished segment says when its words were spoken. */
  final(words, now) {
    this.partial(words.map((word) => word.text), now);
    if (this.origin !== undefined) {
      words.forEach((word, i) => this.values.push(Math.max(0, this.shown[i].at - this.origin - 1000 * word.end)));
    }
    this.shown = [];
  }

  quantile(share) {
    const sorted = [...this.values].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : undefined;
  }

  /** Seconds from the axis' beginning to its end. */
  get range() {
    const p90 = (this.quantile(0.9) ?? 0) / 1000;
    return RANGES_S.find((range) => p90 < range) ?? RANGES_S[RANGES_S.length - 1];
  }

  counts() {
    const counts = new Array(STEPS).fill(0);
    const step = (1000 * this.range) / STEPS;
    for (const value of this.values) counts[Math.min(STEPS - 1, Math.floor(value / step))] += 1;
    return counts;
  }
}

export function seconds(ms) {
  return ms === undefined ? "–" : `${(ms / 1000).toFixed(2)} s`;
}

/** Draw the histogram into an SVG element and say it in words. */
export function draw(svg, lateness) {
  const counts = lateness.counts();
  const highest = Math.max(1, ...counts);
  const column = WIDTH / STEPS;
  const parts = counts.map((count, i) => {
    const height = (count / highest) * (HEIGHT - 6);
    return shape("rect", { x: i * column + 1, y: HEIGHT - height, width: column - 2, height, rx: 2 });
  });
  parts.push(shape("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT + 0.5, y2: HEIGHT + 0.5 }));
  const { range } = lateness;
  for (const part of [0, 1, 2, 3]) {
    const mark = (part * range) / 3;
    const anchor = ["start", "middle", "middle", "end"][part];
    parts.push(shape("text", { x: (part * WIDTH) / 3, y: HEIGHT + 16, "text-anchor": anchor }, part === 3 ? `${mark} s and more` : `${mark} s`));
  }
  const middle = lateness.quantile(0.5);
  if (middle !== undefined) {
    const x = Math.min(WIDTH - 1, (middle / 1000 / range) * WIDTH);
    parts.push(shape("line", { class: "middle", x1: x, x2: x, y1: 0, y2: HEIGHT }));
  }
  const count = lateness.values.length;
  if (!count) parts.push(shape("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "no words yet"));
  svg.replaceChildren(...parts);
  const words = `${count} ${count === 1 ? "word" : "words"}, half within ${seconds(middle)}, 9 of 10 within ${seconds(lateness.quantile(0.9))}`;
  svg.setAttribute("aria-label", count ? words : "No words yet");
}

function shape(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}
