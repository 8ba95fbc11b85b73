"use strict";
(() => {
  const page = document.documentElement;
  page.classList.add("js");

  // The time slider: one frame at a time; without this script all of them stand below one another.
  const frames = Array.from(document.querySelectorAll("#frames > li"));
  const slider = document.getElementById("when");
  if (slider && frames.length) {
    const said = document.getElementById("when-text");
    const play = document.getElementById("play");
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
    let timer = null;
    document.querySelector(".controls").hidden = frames.length < 2;
    const show = (number) => {
      frames.forEach((frame, place) => frame.classList.toggle("shown", place === number));
      slider.value = String(number);
      const words = frames[number].dataset.said;
      said.textContent = words;
      slider.setAttribute("aria-valuetext", words);
    };
    const stop = () => {
      window.clearInterval(timer);
      timer = null;
      play.textContent = "Play";
      play.setAttribute("aria-pressed", "false");
    };
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    play.addEventListener("click", () => {
      if (timer !== null) { stop(); return; }
      let now = Number(slider.value);
      if (now >= frames.length - 1) { now = 0; show(0); }
      play.textContent = "Pause";
      play.setAttribute("aria-pressed", "true");
      timer = window.setInterval(() => {
        now += 1;
        show(now);
        if (now >= frames.length - 1) { stop(); }
      }, calm.matches ? 1500 : 320);
    });
    show(frames.length - 1);
  }

  // Read-outs of the charts.
  document.querySelectorAll(".plot").forEach((plot) => {
    const points = JSON.parse(plot.dataset.points);
    const names = JSON.parse(plot.dataset.names);
    const svg = plot.querySelector("svg");
    const cursor = svg.querySelector(".cursor");
    const out = plot.parentElement.querySelector(".readout");
    if (!points.length) { return; }
    let now = -1;
    const clear = () => { now = -1; plot.classList.remove("read"); plot.parentElement.classList.remove("reading"); out.textContent = ""; };
    const read = (number) => {
      now = Math.max(0, Math.min(points.length - 1, number));
      const [place, images, values] = points[now];
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      plot.classList.add("read");
      plot.parentElement.classList.add("reading");
      let counted = "";
      const parts = values.map((value, which) => {
        if (!value) { return ""; }
        counted = value[2] || counted;
        const name = names.length > 1 ? names[which] + " " : "";
        return name + value[0] + (value[1] ? " (" + value[1] + ")" : "");
      }).filter((part) => part);
      out.textContent = images + " " + (plot.dataset.counted || "images") + ": " + parts.join("; ") + (counted ? "; " + counted : "");
    };
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      let best = 0;
      points.forEach((point, number) => {
        if (Math.abs(point[0] - x) < Math.abs(points[best][0] - x)) { best = number; }
      });
      read(best);
    };
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", plot.parentElement.querySelector("h4").textContent + ": arrow keys read the values");
    plot.addEventListener("pointermove", nearest);
    plot.addEventListener("pointerdown", nearest);
    plot.addEventListener("pointerleave", clear);
    plot.addEventListener("blur", clear);
    plot.addEventListener("keydown", (event) => {
      const last = points.length - 1;
      const to = { ArrowLeft: now < 0 ? last : now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
      if (to === undefined) { return; }
      event.preventDefault();
      read(to);
    });
  });
})();
