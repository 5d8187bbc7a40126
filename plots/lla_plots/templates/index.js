"use strict";
(() => {
  const table = document.querySelector("table.index");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];

  const compared = (one, other) => {
    const numbers = [Number(one), Number(other)];
    return numbers.some(Number.isNaN)
      ? one.localeCompare(other, undefined, { numeric: true })
      : numbers[0] - numbers[1];
  };

  const sortBy = (column) => {
    const ascending = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = (row) => row.cells[column].dataset.order;
    const rows = [...body.rows];
    // What has no value comes last either way.
    const known = rows.filter((row) => order(row) !== "");
    known.sort((one, other) => compared(order(one), order(other)) * (ascending ? 1 : -1));
    body.append(...known, ...rows.filter((row) => order(row) === ""));
  };

  heads.forEach((head, column) => {
    if ("sorts" in head.dataset) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(column));
      head.append(button);
    }
  });
  table.classList.add("live");
})();
