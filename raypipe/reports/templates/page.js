"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const words = (count, one, more) => `${count} ${count === 1 ? one : more}`;

  // Each picture is in the page once; wherever it is shown, it is filled in from there.
  for (const image of document.querySelectorAll("img[data-picture]")) {
    image.src = data.pictures[image.dataset.picture];
  }

  const figure = (key, id, caption) => element(
    "figure", {},
    key === null
      ? element("span", { className: "missing", textContent: "not shown" })
      : element("img", { src: data.pictures[key], alt: `${id}, ${caption}`, title: id, width: 96, height: 96 }),
    element("figcaption", { textContent: caption }, element("span", { className: "id", textContent: id })),
  );

  // A cell of a confusion matrix, or a line of the most confused classes, shows its images.
  for (const part of document.querySelectorAll(".part")) {
    const chosen = part.querySelector(".chosen");
    const buttons = part.querySelectorAll("[data-cell]");
    for (const button of buttons) {
      button.addEventListener("click", () => {
        for (const other of buttons) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        const images = data.parts[part.id].cells[button.dataset.cell] ?? [];
        const label = button.getAttribute("aria-label") || button.textContent;
        chosen.querySelector("h4").textContent = `${label} (${words(images.length, "image", "images")} shown)`;
        chosen.querySelector(".gallery").replaceChildren(...images.map((image) => figure(...image)));
        chosen.hidden = false;
        chosen.scrollIntoView({ block: "nearest" });
      });
    }
  }

  const value = (row, column, kind) => {
    const cell = row.children[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (kind !== "number") return text;
    const number = parseFloat(text.replace(/\s/g, ""));
    return Number.isNaN(number) ? -Infinity : number;
  };
  for (const button of document.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const header = button.closest("th");
      const body = button.closest("table").tBodies[0];
      const column = header.cellIndex;
      const kind = button.dataset.sort;
      const first = kind === "number" ? "descending" : "ascending";
      const second = kind === "number" ? "ascending" : "descending";
      const order = header.getAttribute("aria-sort") === first ? second : first;
      const sign = order === "ascending" ? 1 : -1;
      const compare = kind === "number"
        ? (a, b) => a - b
        : (a, b) => a.localeCompare(b, undefined, { numeric: true });
      const rows = [...body.rows].map((row) => [value(row, column, kind), row]);
      rows.sort((a, b) => (a[0] === b[0] ? 0 : sign * compare(a[0], b[0])));
      for (const other of header.parentElement.children) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", order);
      body.append(...rows.map(([, row]) => row));
    });
  }

  for (const map of document.querySelectorAll(".map")) {
    const places = data.parts[map.closest(".part").id].map;
    const points = [...map.querySelectorAll("[id$='-points'] use")];
    const hover = map.querySelector(".hover");
    const byPlace = points.map((_, number) => number);
    byPlace.sort((a, b) => points[a].getAttribute("x") - points[b].getAttribute("x"));
    let at = -1;
    let touched = -1;
    const leave = () => {
      if (at >= 0) points[at].classList.remove("at");
      hover.hidden = true;
    };
    const show = (number) => {
      leave();
      at = number;
      const [key, id, cluster, label] = places[number];
      const caption = `cluster ${cluster}${label ? `, ${label}` : ""}`;
      points[number].classList.add("at");
      hover.replaceChildren(figure(key, id, caption));
      hover.hidden = false;
      const frame = map.getBoundingClientRect();
      const point = points[number].getBoundingClientRect();
      const left = point.right - frame.left + 8;
      hover.style.left = `${Math.max(0, Math.min(left, frame.width - hover.offsetWidth))}px`;
      hover.style.top = `${Math.max(0, Math.min(point.top - frame.top, frame.height - hover.offsetHeight))}px`;
    };
    const open = () => {
      const sheet = at >= 0 && document.getElementById(`cluster-${places[at][2]}`);
      if (sheet) sheet.scrollIntoView();
    };
    points.forEach((point, number) => {
      point.addEventListener("pointerenter", () => show(number));
      point.addEventListener("click", (event) => {
        // A finger has no way to point: its first touch shows the image, the second one goes there.
        const again = touched === number;
        touched = number;
        show(number);
        if (event.pointerType !== "touch" || again) open();
      });
    });
    map.addEventListener("pointerleave", leave);
    map.addEventListener("blur", leave);
    map.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        const place = byPlace.indexOf(at);
        show(byPlace[(place + step + byPlace.length) % byPlace.length]);
      } else if (event.key === "Enter") {
        open();
      }
    });
  }

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
})();
