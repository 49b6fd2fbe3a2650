"use strict";
// Tables that sort by a click on a heading, and a field that filters rows and cards by name.
(() => {
  document.documentElement.classList.add("js");
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const first = [...body.rows];
    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", () => {
        const head = button.closest("th");
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const column = [...head.parentNode.children].indexOf(head);
        const text = button.dataset.kind === "text";
        const value = (row) => {
          if (text) return row.dataset.case;
          const number = row.children[column].dataset.value;
          return number === "" ? null : Number(number);
        };
        const sign = up ? 1 : -1;
        const rows = [...first].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (x < y ? -1 : x > y ? 1 : 0);
        });
        for (const row of rows) body.append(row);
        table.dispatchEvent(new CustomEvent("sorted", { bubbles: true, detail: rows.map((row) => row.dataset.case) }));
      });
    }
  }
  const field = document.querySelector("input[data-filter]");
  if (field)
    field.addEventListener("input", () => {
      const part = field.value.trim().toLowerCase();
      let shown = 0;
      for (const element of document.querySelectorAll("[data-case]:not(svg *)")) {
        element.hidden = !element.dataset.case.toLowerCase().includes(part);
        if (element.tagName === "TR" && !element.hidden) shown += 1;
      }
      document.getElementById("shown").textContent = `${shown} cases`;
    });
})();
