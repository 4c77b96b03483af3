"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const words = (count, one, more) => `${count} ${count === 1 ? one : more}`;

  // Names break where they have a joint, and never within their extension.
  const broken = (name) => {
    const end = name.match(/[^/]{0,4}\.[A-Za-z0-9]{1,5}$/)?.index ?? name.length;
    const pieces = name.slice(0, end).split(/(?<=[/_\-. :])/).flatMap((piece) => [piece, element("wbr")]);
    return [...pieces, element("span", { className: "whole", textContent: name.slice(end) })];
  };

  // Each picture is in the page once; wherever it is shown, it is filled in from there. The first
  // ones are there large as well; of the others, a link leads to the file.
  const dialog = document.querySelector("dialog");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const open = (key, image) => {
    const link = data.links[key];
    const large = element("img", { src: data.large[key] ?? data.pictures[key], alt: image.alt });
    const file = link ? element("a", { href: link, target: "_blank", rel: "noopener", textContent: "Open the file" }) : "";
    const form = element("form", { method: "dialog" }, file || element("span"), element("button", { textContent: "Close" }));
    dialog.replaceChildren(large, element("p", { textContent: image.alt }), form);
    dialog.showModal();
  };
  const filled = (image, key) => {
    image.src = data.pictures[key];
    const link = data.links[key];
    if (key in data.large) {
      const button = element("button", { type: "button", className: "picture", onclick: () => open(key, image) });
      image.replaceWith(button);
      button.append(image);
      return button;
    }
    if (!link) return image;
    const anchor = element("a", { className: "picture", href: link, target: "_blank", rel: "noopener" });
    image.replaceWith(anchor);
    anchor.append(image);
    return anchor;
  };
  for (const image of document.querySelectorAll("img[data-picture]")) filled(image, image.dataset.picture);
  for (const name of document.querySelectorAll(".id")) name.replaceChildren(...broken(name.textContent));

  const figure = (key, id, caption) => element(
    "figure", {},
    key === null
      ? element("span", { className: "missing", textContent: "not shown" })
      : filled(element("img", { alt: `${id}, ${caption}`, title: id, width: 96, height: 96 }), key),
    element("figcaption", { textContent: caption }, element("span", { className: "id" }, ...broken(id))),
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
        const count = data.parts[part.id].counts[button.dataset.cell];
        const label = button.getAttribute("aria-label") || button.textContent;
        chosen.querySelector("h4").textContent = images.length < count
          ? `${label} (${images.length} shown)`
          : `${label} (${words(images.length, "image", "images")} shown)`;
        chosen.querySelector(".gallery").replaceChildren(...images.map((image) => figure(...image)));
        chosen.hidden = false;
        chosen.scrollIntoView({ block: "nearest" });
      });
    }
  }

  // A long table shows its first rows, and says so; one that is too wide does as well.
  const few = 20;
  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= few) continue;
    const more = element("button", { type: "button", className: "more" });
    const show = (all) => {
      table.classList.toggle("cut", !all);
      more.textContent = all ? `Show ${few} of ${rows} rows` : `${few} of ${rows} rows are shown: show all`;
    };
    more.addEventListener("click", () => show(table.classList.contains("cut")));
    show(false);
    table.parentElement.after(more);
  }
  for (const box of document.querySelectorAll(".scroll")) {
    const cue = element("p", { className: "note cue", textContent: "Wider than the page: scroll it sideways.", hidden: true });
    box.before(cue);
    const check = () => {
      const wide = box.scrollWidth > box.clientWidth + 1;
      cue.hidden = !wide;
      if (wide) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    };
    new ResizeObserver(check).observe(box);
    check();
  }

  // Letters that no font of this machine has would be boxes without a word.
  const scripts = [
    "Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek", "Gujarati",
    "Gurmukhi", "Han", "Hangul", "Hebrew", "Hiragana", "Kannada", "Katakana", "Khmer", "Lao", "Malayalam",
    "Myanmar", "Sinhala", "Tamil", "Telugu", "Thai", "Tibetan",
  ];
  const kinds = scripts.map((script) => [script, new RegExp(`\\p{Script=${script}}`, "u")]);
  kinds.push(["emoji", /\p{Extended_Pictographic}/u]);
  const pen = element("canvas", { width: 40, height: 40 }).getContext("2d", { willReadFrequently: true });
  const drawn = (letter) => {
    pen.clearRect(0, 0, 40, 40);
    pen.font = `20px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillText(letter, 5, 28);
    return pen.getImageData(0, 0, 40, 40).data.join();
  };
  const letters = new Set([...document.querySelector("main").textContent].filter((letter) => letter > "\u024f" && /[\p{L}\p{So}]/u.test(letter)));
  const box = letters.size ? drawn("\u{10fffe}") : "";
  const missing = new Set([...letters].filter((letter) => drawn(letter) === box).map(
    (letter) => kinds.find(([, kind]) => kind.test(letter))?.[0] ?? "other",
  ));
  if (missing.size) {
    const note = document.querySelector(".letters");
    note.textContent = `Boxes stand for letters that no font of this machine has (${[...missing].sort().join(", ")}); the fonts called Noto have them.`;
    note.hidden = false;
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
