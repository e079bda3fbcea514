// How long answers took: the last, the middle one, the slow ones, and the course of them.

import { el, svg } from "./elements.js";
import { duration, quantile } from "./values.js";

const KEPT = 120;

export class Latency {
  constructor() {
    this.times = [];
    this.count = 0;
    this.values = ["last", "p50", "p99", "answers"].map((name) => [name, el("dd", {}, "–")]);
    this.course = svg("path", { class: "bars" });
    this.element = el("div", { class: "latency" },
      el("dl", {}, ...this.values.map(([name, value]) => el("div", {}, el("dt", {}, name), value))),
      svg("svg", { viewBox: `0 0 ${KEPT * 2} 32`, preserveAspectRatio: "none", role: "img", "aria-label": `Course of the last ${KEPT} times` }, this.course));
  }

  add(ms) {
    this.times.push(ms);
    if (this.times.length > KEPT) this.times.shift();
    this.count += 1;
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.waiting = 0;
    const texts = [duration(this.times.at(-1)), duration(quantile(this.times, 0.5)), duration(quantile(this.times, 0.99)), String(this.count)];
    this.values.forEach(([, node], at) => (node.textContent = texts[at]));
    const most = Math.max(...this.times);
    const first = KEPT - this.times.length;
    this.course.setAttribute("d", this.times.map((ms, at) => `M${(first + at) * 2 + 1} 32V${(31 - 29 * (ms / most)).toFixed(1)}`).join(""));
  }
}
