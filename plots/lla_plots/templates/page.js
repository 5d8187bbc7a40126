"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const settings = { displaylogo: false, responsive: true, plotlyServerURL: "" };
  // Named one by one: among plotly.js' own choice is one that hands the figure to a server, in a
  // window of its own, which no policy of this page forbids.
  const buttons = {
    flat: [["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    solid: [["orbitRotation", "zoom3d", "pan3d"], ["resetCameraDefault3d"]],
  };
  const figures = [...document.querySelectorAll("figure.interactive")];
  const still = (figure) => figure.classList.remove("live");

  const hasWebGL = () => {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl"));
    } catch {
      return false;
    }
  };

  const unpacked = async (packed) => {
    const text = atob(packed);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) {
      bytes[at] = text.charCodeAt(at);
    }
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  const added = (script) =>
    new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} cannot be loaded`));
      document.head.append(script);
      if (!script.src) {
        resolve();
      }
    });

  // plotly.js adds style elements, which need the nonce, and writes some styles as attributes,
  // which the policy forbids: the same by way of the object model is no hole that text could use.
  const letStyle = (nonce) => {
    const { createElement } = document;
    document.createElement = (...words) => {
      const made = createElement.apply(document, words);
      if (made.localName === "style") {
        made.nonce = nonce;
      }
      return made;
    };
    const { setAttribute } = Element.prototype;
    Element.prototype.setAttribute = function set(name, value) {
      if (name === "style") {
        this.style.cssText = value;
      } else {
        setAttribute.call(this, name, value);
      }
    };
  };

  let library;
  const plotly = () => {
    library ??= (async () => {
      const place = document.getElementById("plotly");
      const script = document.createElement("script");
      if (place.dataset.address) {
        script.nonce = place.dataset.nonce;
        script.src = place.dataset.address;
      } else {
        script.text = await unpacked(place.textContent);
      }
      letStyle(place.dataset.nonce);
      await added(script);
      return window.Plotly;
    })();
    return library;
  };

  const themed = (layout) => {
    const css = getComputedStyle(document.documentElement);
    const color = (name) => css.getPropertyValue(name).trim();
    const ink = color("--ink");
    const rule = color("--rule");
    const axis = (found = {}) => ({ ...found, color: ink, gridcolor: rule, zerolinecolor: rule });
    const scene = layout.scene && {
      ...layout.scene,
      uirevision: "kept",
      xaxis: axis(layout.scene.xaxis),
      yaxis: axis(layout.scene.yaxis),
      zaxis: axis(layout.scene.zaxis),
    };
    return {
      ...layout,
      uirevision: "kept",
      ...(scene ? { scene } : { xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis) }),
      font: { color: ink, family: color("--font"), size: 13 },
      hoverlabel: { font: { family: color("--font"), size: 13 } },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: ink },
    };
  };

  // On a phone the legend goes above the plot, and titles have less room.
  const narrow = (layout) => {
    if (layout.scene) {
      return layout;
    }
    const small = (axis) => ({ ...axis, title: { ...axis.title, font: { size: 11 } } });
    return {
      ...layout,
      xaxis: small(layout.xaxis),
      yaxis: small(layout.yaxis),
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      margin: { ...layout.margin, t: 110, l: 55 },
    };
  };

  const turned = (camera, key) => {
    const { x, y, z } = camera.eye;
    const radius = Math.hypot(x, y, z);
    let around = Math.atan2(y, x);
    let up = Math.asin(z / radius);
    let scale = 1;
    const step = Math.PI / 36;
    if (key === "ArrowLeft") around -= step;
    else if (key === "ArrowRight") around += step;
    else if (key === "ArrowUp") up = Math.min(up + step, 1.5);
    else if (key === "ArrowDown") up = Math.max(up - step, -1.5);
    else if (key === "+" || key === "=") scale = 1 / 1.1;
    else if (key === "-") scale = 1.1;
    else return null;
    const flat = radius * scale * Math.cos(up);
    const eye = { x: flat * Math.cos(around), y: flat * Math.sin(around), z: radius * scale * Math.sin(up) };
    return { ...camera, eye };
  };

  const turnWithKeys = (place, Plotly) => {
    place.addEventListener("keydown", (event) => {
      const plain = !(event.ctrlKey || event.metaKey || event.altKey);
      const camera = plain && turned(place._fullLayout.scene._scene.getCamera(), event.key);
      if (camera) {
        event.preventDefault();
        Plotly.relayout(place, { "scene.camera": camera });
      }
    });
  };

  const draw = async (figure) => {
    const place = figure.querySelector(".plot");
    const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
    if (layout.scene && !hasWebGL()) {
      return;
    }
    try {
      const Plotly = await plotly();
      const first = !figure.dataset.drawn;
      figure.classList.add("live");
      const modeBarButtons = layout.scene ? buttons.solid : buttons.flat;
      const fitted = place.clientWidth < 560 ? narrow(layout) : layout;
      await Plotly.react(place, data, themed(fitted), { ...settings, modeBarButtons });
      if (first && layout.scene) {
        turnWithKeys(place, Plotly);
      }
      figure.dataset.drawn = "yes";
    } catch (problem) {
      console.warn("A figure stays a still image:", problem.message);
      still(figure);
    }
  };

  // What is far from view is drawn when the reader comes near it.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((found) => found.isIntersecting)) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "800px" },
  );
  const begin = () => figures.forEach((figure) => watcher.observe(figure));
  // The page is painted first.
  addEventListener("load", () => setTimeout(begin, 50));
  dark.addEventListener("change", () => figures.filter((figure) => figure.dataset.drawn).forEach(draw));
})();
