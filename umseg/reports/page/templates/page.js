"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse(byId("data").textContent);
  const cards = new Map(all(".card").map((card) => [card.dataset.case, card]));
  const rows = new Map(all("#case-table tbody tr").map((row) => [row.dataset.case, row]));
  let order = [...data.order];

  // Ratings: kept by the browser, by page.
  const store = "umseg-ratings-" + data.page;
  const key = (name, source) => JSON.stringify([name, source]);
  let memory = { reviewer: "", ratings: {} };
  try {
    memory = JSON.parse(localStorage.getItem(store)) || memory;
  } catch {
    // Without storage, ratings last as long as the page is open.
  }
  const save = () => {
    try {
      localStorage.setItem(store, JSON.stringify(memory));
    } catch {
      // See above.
    }
    showRatings();
  };
  const entry = (name, source) => memory.ratings[key(name, source)] || { rating: null, note: "" };

  function showRatings() {
    let rated = 0;
    for (const name of data.order) {
      const given = data.sources.map((source) => entry(name, source).rating).filter((grade) => grade !== null);
      if (given.length) rated += 1;
      const card = cards.get(name);
      const badge = card && card.querySelector(".rated");
      if (badge) {
        badge.hidden = !given.length;
        badge.textContent = given.length ? "rated " + given.join(", ") : "";
      }
      const row = rows.get(name);
      const cell = row && row.querySelector(".rating");
      if (cell) {
        cell.textContent = given.join(", ");
        cell.dataset.value = given.length ? Math.min(...given) : "";
      }
    }
    byId("progress").textContent = `${rated} of ${data.order.length} cases rated`;
  }

  // Filters and order.
  function chosenClass() {
    return byId("filter-class") ? byId("filter-class").value : "";
  }
  function score(name, source, metric, of = chosenClass()) {
    const found = data.scores[source] && data.scores[source][name];
    const value = found && found[of] && found[of][metric];
    return value === undefined ? null : value;
  }
  function applyFilters() {
    const part = byId("filter-name").value.trim().toLowerCase();
    const limit = byId("filter-score") && byId("filter-score").value !== "" ? Number(byId("filter-score").value) : null;
    const higher = !byId("filter-score") || byId("filter-score").dataset.better === "higher";
    const wanted = byId("filter-rating").value;
    const main = Object.keys(data.digits)[0];
    let shown = 0;
    for (const name of data.order) {
      const values = data.sources.map((_, source) => score(name, source, mainKey(main))).filter((v) => v !== null);
      const grades = data.sources.map((source) => entry(name, source).rating).filter((g) => g !== null);
      const visible =
        name.toLowerCase().includes(part) &&
        (limit === null || values.some((value) => (higher ? value <= limit : Math.abs(value) >= limit))) &&
        (wanted === "" || (wanted === "none" ? !grades.length : grades.includes(Number(wanted))));
      for (const element of [cards.get(name), rows.get(name)]) if (element) element.hidden = !visible;
      shown += visible ? 1 : 0;
    }
    byId("shown").textContent = `${shown} of ${data.order.length} cases`;
  }
  function mainKey(fallback) {
    const button = document.querySelector("#case-table button[data-source]");
    return button ? button.dataset.key : fallback;
  }
  function arrange(names) {
    order = names;
    const place = byId("cards");
    for (const name of names) if (cards.has(name)) place.append(cards.get(name));
  }
  function showClass() {
    const of = chosenClass();
    byId("table-class").textContent = of ? `of ${of}` : "as the mean over classes";
    const heads = all("#case-table thead button[data-source]");
    for (const [name, row] of rows) {
      const cells = all("td.number", row);
      heads.forEach((head, place) => {
        if (head.dataset.key === "confidence") return;
        const value = score(name, Number(head.dataset.source), head.dataset.key, of);
        cells[place].textContent = value === null ? "–" : value.toFixed(data.digits[head.dataset.key]);
        cells[place].dataset.value = value === null ? "" : value;
      });
      const card = cards.get(name);
      if (!card) continue;
      for (const shown of all("[data-score]", card)) {
        const value = score(name, Number(shown.dataset.score), mainKey(""), of);
        shown.textContent = value === null ? "–" : value.toFixed(3);
      }
    }
    applyFilters();
  }
  for (const id of ["filter-name", "filter-score", "filter-rating"])
    if (byId(id)) byId(id).addEventListener("input", applyFilters);
  if (byId("filter-class")) byId("filter-class").addEventListener("change", showClass);
  byId("order").addEventListener("change", (event) => {
    const way = event.target.value;
    const names = [...data.order];
    arrange(way === "name" ? names.sort() : way === "1" ? names.reverse() : names);
    const body = document.querySelector("#case-table tbody");
    for (const name of order) body.append(rows.get(name));
    all("#case-table th[aria-sort]").forEach((head) => head.removeAttribute("aria-sort"));
  });
  document.addEventListener("sorted", (event) => arrange(event.detail));

  // Layers of pictures.
  function show(planes, layer) {
    const there = planes.dataset.layers.split(" ");
    const wanted = there.includes(layer) ? layer : there.find((name) => layer && name.startsWith(layer)) || "";
    for (const image of all("img", planes)) image.classList.toggle("on", image.dataset.layer === wanted);
    planes.dataset.shown = wanted;
    return wanted;
  }
  let everywhere = "prediction";
  for (const input of all("#all-layers input"))
    input.addEventListener("change", () => {
      everywhere = input.value;
      for (const planes of all(".cards .planes")) show(planes, everywhere);
    });

  // The large view of a case.
  const dialog = byId("case-dialog");
  let open = null;
  let layer = "";
  let before = null;
  const named = (name) => {
    if (!name) return "image only";
    const [kind, number] = name.split("-");
    const several = data.sources.length > 1 && number !== undefined;
    return { prediction: "prediction", reference: "reference", error: "errors" }[kind] + (several ? `, ${data.sources[number]}` : "");
  };
  const source = () => {
    const number = Number((layer.split("-")[1] || before || "0"));
    return data.sources[number] === undefined ? data.sources[0] : data.sources[number];
  };
  function setLayer(wanted) {
    const planes = byId("stage").querySelector(".planes");
    if (planes) layer = show(planes, wanted);
    if (layer.includes("-")) before = layer.split("-")[1];
    for (const input of all("#layers input")) input.checked = input.value === layer;
    byId("layer-shown").textContent = named(layer) + " shown";
    viewer.show(layer);
    showRating();
  }
  function showRating() {
    const given = entry(open, source());
    for (const input of all("#rate input")) input.checked = Number(input.value) === given.rating;
    byId("note").value = given.note;
    byId("rate-legend").textContent = data.sources.length > 1 ? `Rating of ${source()}` : "Rating";
  }
  function rate(grade) {
    memory.ratings[key(open, source())] = { ...entry(open, source()), rating: grade };
    save();
    showRating();
  }
  function giveBack() {
    if (open === null) return;
    const card = cards.get(open);
    const planes = byId("stage").querySelector(".planes");
    if (planes) {
      planes.style.removeProperty("--opacity");
      show(planes, everywhere);
      card.insertBefore(planes, card.querySelector(".values"));
    }
    const details = byId("dialog-details").firstElementChild;
    if (details) {
      details.hidden = true;
      card.append(details);
    }
    viewer.close();
    open = null;
  }
  function openCase(name) {
    if (!cards.has(name)) return;
    giveBack();
    open = name;
    before = null;
    const card = cards.get(name);
    const planes = card.querySelector(".planes");
    byId("dialog-title").textContent = name;
    byId("dialog-place").textContent = `${order.indexOf(name) + 1} of ${order.length}`;
    const layers = byId("layers");
    all("label", layers).forEach((label) => label.remove());
    if (planes) {
      byId("stage").append(planes);
      planes.style.setProperty("--opacity", byId("opacity").value);
      for (const value of [...planes.dataset.layers.split(" ").filter(Boolean), ""]) {
        const label = document.createElement("label");
        const input = document.createElement("input");
        Object.assign(input, { type: "radio", name: "layer", value });
        input.addEventListener("change", () => setLayer(value));
        label.append(input, " " + named(value));
        layers.append(label);
      }
    }
    const details = card.querySelector(".details");
    details.hidden = false;
    byId("dialog-details").append(details);
    byId("view-3d").hidden = !viewer.has(name);
    layer = "";
    if (!dialog.open) dialog.showModal();
    setLayer(everywhere || "prediction");
    dialog.scrollTop = 0;
    for (const point of all(".point.lit")) point.classList.remove("lit");
    for (const point of all(".point[data-case]")) if (point.dataset.case === name) point.classList.add("lit");
  }
  function step(by) {
    const visible = order.filter((name) => cards.has(name) && !cards.get(name).hidden);
    const place = visible.indexOf(open) + by;
    if (place >= 0 && place < visible.length) openCase(visible[place]);
  }
  dialog.addEventListener("close", () => {
    const last = open;
    giveBack();
    if (last !== null && cards.has(last)) cards.get(last).querySelector(".open").focus({ preventScroll: true });
  });
  byId("close").addEventListener("click", () => dialog.close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("opacity").addEventListener("input", (event) => {
    const planes = byId("stage").querySelector(".planes");
    if (planes) planes.style.setProperty("--opacity", event.target.value);
    viewer.opacity(Number(event.target.value));
  });
  for (const input of all("#rate input")) input.addEventListener("change", () => rate(Number(input.value)));
  byId("unrate").addEventListener("click", () => rate(null));
  byId("rate").addEventListener("submit", (event) => event.preventDefault());
  byId("note").addEventListener("input", (event) => {
    memory.ratings[key(open, source())] = { ...entry(open, source()), note: event.target.value };
    save();
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest(".open, .cards .planes, .point[data-case]");
    if (!opener) return;
    const owner = opener.closest("[data-case]");
    if (!owner) return;
    event.preventDefault();
    openCase(owner.dataset.case);
  });
  document.addEventListener("keydown", (event) => {
    if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    if (at.tagName === "TEXTAREA" || (at.tagName === "INPUT" && at.type !== "radio")) return;
    const planes = byId("stage").querySelector(".planes");
    const number = before || "0";
    const actions = {
      1: () => rate(1), 2: () => rate(2), 3: () => rate(3), 4: () => rate(4),
      f: () => setLayer(layer.startsWith("prediction") ? (planes && planes.dataset.layers.includes("reference") ? "reference" : "") : "prediction-" + number),
      e: () => setLayer(layer.startsWith("error") ? "prediction-" + number : "error-" + number),
      i: () => setLayer(layer === "" ? "prediction-" + number : ""),
      s: () => setLayer("prediction-" + ((Number(number) + 1) % data.sources.length)),
      v: () => byId("view-3d").hidden || byId("view-3d").click(),
    };
    const arrows = { ArrowLeft: () => step(-1), ArrowRight: () => step(1) };
    const action = actions[event.key] || (at.type === "radio" || at.id === "canvas" ? null : arrows[event.key]);
    if (!action) return;
    event.preventDefault();
    action();
  });

  // NiiVue, which is unpacked when it is first used.
  const viewer = (() => {
    const volumes = byId("volumes") ? JSON.parse(byId("volumes").textContent) : {};
    let nv = null;
    let names = [];
    const has = (name) => name in volumes;
    async function load() {
      const packed = Uint8Array.from(atob(byId("niivue").textContent), (letter) => letter.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      nv = new window.niivue.Niivue({
        backColor: [0, 0, 0, 1], dragAndDropEnabled: false, logLevel: "error", loadingText: "", show3Dcrosshair: true,
        crosshairColor: [1, 0.88, 0.54, 0.7], crosshairWidth: 0.3, sagittalNoseLeft: true, isRadiologicalConvention: true,
      });
      await nv.attachToCanvas(byId("canvas"));
      nv.setSliceType(nv.sliceTypeMultiplanar);
      nv.opts.multiplanarShowRender = window.niivue.SHOW_RENDER.ALWAYS;
      nv.setMultiplanarLayout(window.niivue.MULTIPLANAR_TYPE.GRID);
    }
    function lut() {
      const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
      const count = data.objects ? 255 : Math.max(data.legend.length, 1);
      for (let value = 1; value <= count; value += 1) {
        const code = data.colours[(value - 1) % data.colours.length];
        table.R.push(parseInt(code.slice(0, 2), 16));
        table.G.push(parseInt(code.slice(2, 4), 16));
        table.B.push(parseInt(code.slice(4, 6), 16));
        table.A.push(255);
        table.I.push(value);
        table.labels.push(data.objects ? String(value) : data.legend[value - 1] || "");
      }
      return table;
    }
    async function view(name) {
      byId("viewer").hidden = false;
      byId("stage").hidden = true;
      byId("viewer-note").textContent = "Loading …";
      try {
        if (nv === null) await load();
        while (nv.volumes.length) nv.removeVolumeByIndex(0);
        names = Object.keys(volumes[name]).sort((a, b) => (b === "image") - (a === "image"));
        for (const part of names) {
          const base64 = volumes[name][part];
          const volume = await window.niivue.NVImage.loadFromBase64({ base64, name: part + ".nii.gz", colormap: "gray", opacity: 1 });
          if (part !== "image") volume.setColormapLabel(lut());
          nv.addVolume(volume);
        }
        show(layer);
        byId("viewer-note").textContent =
          "Drag to move the planes or turn the volume; the wheel moves through the slices. Values are scaled to 8 bits and cropped to the classes.";
        byId("canvas").dataset.case = name;
      } catch (error) {
        byId("viewer-note").textContent = "The viewer needs WebGL2, which this browser does not offer: " + error.message;
      }
    }
    function show(wanted) {
      if (nv === null || byId("viewer").hidden) return;
      const shown = wanted.startsWith("error") ? "prediction-" + wanted.split("-")[1] : wanted;
      names.forEach((part, place) => nv.setOpacity(place, part === "image" ? 1 : part === shown ? Number(byId("opacity").value) * 0.6 : 0));
    }
    function close() {
      byId("viewer").hidden = true;
      byId("stage").hidden = false;
      delete byId("canvas").dataset.case;
    }
    return { has, view, show, close, opacity: () => show(layer) };
  })();
  byId("view-3d").addEventListener("click", () => (byId("viewer").hidden ? viewer.view(open) : viewer.close()));

  // The review.
  byId("reviewer").value = memory.reviewer;
  byId("reviewer").addEventListener("input", (event) => {
    memory.reviewer = event.target.value;
    save();
  });
  byId("start-review").addEventListener("click", () => {
    const next = order.find((name) => data.sources.some((one) => entry(name, one).rating === null));
    if (next !== undefined) openCase(next);
  });
  byId("download").addEventListener("click", () => {
    const ratings = [];
    for (const name of [...data.order].sort())
      for (const one of data.sources) {
        const given = entry(name, one);
        if (given.rating !== null || given.note) ratings.push({ case: name, source: one, rating: given.rating, note: given.note });
      }
    const content = { schema_version: 1, page: data.page, title: data.title, reviewer: memory.reviewer, ratings };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2) + "\n"], { type: "application/json" }));
    link.download = "ratings.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  for (const button of all("[data-copy]"))
    button.addEventListener("click", async () => {
      const text = byId(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.innerText);
        button.textContent = "Copied";
      } catch {
        // Without access to the clipboard, the text is selected.
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
    });
  showRatings();
  applyFilters();
})();
