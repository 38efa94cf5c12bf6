// SPDX-License-Identifier: MIT
// Draws the plots of the reports with uPlot. Each has its values as a table beside it.
(() => {
  "use strict";

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (n) => style(`--plot-${(n % 6) + 1}`);
  const stacked = (series) => {
    const sums = series[0].values.map(() => 0);
    return series.map((one) => one.values.map((value, i) => (sums[i] += value || 0)));
  };

  const draw = (box) => {
    const data = JSON.parse(box.dataset.plot);
    const xs = data.labels.map((_, i) => i);
    const isStacked = data.kind === "stacked";
    const values = isStacked ? stacked(data.series) : data.series.map((one) => one.values);
    // What is on top of a stack is drawn first.
    const order = isStacked ? data.series.map((_, i) => data.series.length - 1 - i) : data.series.map((_, i) => i);
    const line = data.kind === "line";
    const bars = uPlot.paths.bars({ size: [0.75, 60], align: 0 });
    const axis = {
      stroke: style("--muted"),
      grid: { stroke: style("--line"), width: 1 },
      ticks: { stroke: style("--line"), width: 1 },
      font: "12px " + style("--font"),
    };
    const plot = new uPlot(
      {
        width: box.clientWidth,
        height: 240,
        scales: { x: { time: false, range: [-0.6, xs.length - 0.4] }, y: { range: (_, __, max) => [0, data.unit === "%" ? 100 : Math.max(max, 1) * 1.05] } },
        axes: [
          { ...axis, splits: () => xs, values: (u, splits) => {
            const room = Math.max(1, Math.ceil(splits.length / Math.max(1, Math.floor(u.width / 64))));
            return splits.map((i) => (i % room ? "" : data.labels[i]));
          }, grid: { show: false } },
          { ...axis, size: 46, incrs: [1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10000], values: (_, splits) => splits.map((v) => v + (data.unit || "")) },
        ],
        legend: { live: false },
        cursor: { show: false },
        series: [
          {},
          ...order.map((n) => ({
            label: data.series[n].label,
            show: true,
            stroke: line ? colour(n) : style("--surface"),
            width: line ? 2 : 1,
            fill: line ? colour(n) + "22" : colour(n),
            points: { show: line, size: 6 },
            ...(line ? {} : { paths: bars }),
          })),
        ],
      },
      [xs, ...order.map((n) => values[n])],
      box,
    );
    return plot;
  };

  const all = () => {
    for (const box of document.querySelectorAll("[data-plot]")) {
      box.replaceChildren();
      draw(box);
    }
  };
  all();

  let again = null;
  window.addEventListener("resize", () => {
    clearTimeout(again);
    again = setTimeout(all, 150);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();
