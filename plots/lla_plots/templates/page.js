"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const settings = { displaylogo: false, responsive: true, plotlyServerURL: "" };

  const hasWebGL = () => {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl"));
    } catch {
      return false;
    }
  };

  const themed = (layout) => {
    const css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--ink").trim();
    const rule = css.getPropertyValue("--rule").trim();
    const axis = (found = {}) => ({ ...found, color: ink, gridcolor: rule, zerolinecolor: rule });
    const scene = layout.scene && {
      ...layout.scene,
      xaxis: axis(layout.scene.xaxis),
      yaxis: axis(layout.scene.yaxis),
      zaxis: axis(layout.scene.zaxis),
    };
    return {
      ...layout,
      ...(scene ? { scene } : { xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis) }),
      font: { color: ink, family: css.getPropertyValue("--font").trim(), size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css.getPropertyValue("--soft").trim(), activecolor: ink },
    };
  };

  const draw = (figure) => {
    const place = figure.querySelector(".plot");
    const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
    if (layout.scene && !hasWebGL()) {
      return;
    }
    figure.classList.add("live");
    Plotly.react(place, data, themed(layout), settings).catch(() => {
      figure.classList.remove("live");
    });
  };

  const figures = [...document.querySelectorAll("figure.interactive")];
  const drawAll = () => figures.forEach(draw);
  drawAll();
  dark.addEventListener("change", drawAll);
})();
