"use strict";
(() => {
  const table = document.querySelector("table.index");
  const body = table.tBodies[0];
  const head = table.tHead.rows[0];
  const original = [...body.rows];

  const compared = (one, other) => {
    const numbers = [Number(one), Number(other)];
    return numbers.some(Number.isNaN)
      ? one.localeCompare(other, undefined, { numeric: true })
      : numbers[0] - numbers[1];
  };

  const sortBy = (cell) => {
    const ascending = cell.getAttribute("aria-sort") !== "ascending";
    [...head.cells].forEach((one) => one.removeAttribute("aria-sort"));
    cell.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = (row) => row.cells[cell.cellIndex].dataset.order;
    const rows = [...body.rows];
    // What has no value comes last either way.
    const known = rows.filter((row) => order(row) !== "");
    known.sort((one, other) => compared(order(one), order(other)) * (ascending ? 1 : -1));
    body.append(...known, ...rows.filter((row) => order(row) === ""));
  };

  const letSort = (cell) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    button.addEventListener("click", () => sortBy(cell));
    cell.append(button);
  };

  [...head.cells].filter((cell) => "sorts" in cell.dataset).forEach(letSort);
  table.classList.add("live");

  // Columns of all other metrics are made when they are chosen.
  const chooser = document.querySelector("details.chooser");
  if (!chooser) {
    return;
  }
  const filled = (cell, [text, order, kind, odd]) => {
    cell.textContent = text;
    cell.className = kind;
    cell.dataset.order = order;
    if (odd) {
      cell.classList.add("odd");
      cell.title = odd;
      const mark = document.createElement("span");
      mark.className = "mark";
      mark.textContent = "outlier";
      cell.append(" ", mark);
    }
  };
  const add = ({ path, about, cells }) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.dataset.path = path;
    cell.title = about ?? "";
    cell.textContent = path;
    letSort(cell);
    head.append(cell);
    original.forEach((row, at) => filled(row.insertCell(), cells[at]));
  };
  const show = (path, shown) => {
    const at = [...head.cells].find((cell) => cell.dataset.path === path).cellIndex;
    [head, ...original].forEach((row) => {
      row.cells[at].hidden = !shown;
    });
  };
  const choice = (path, checked, about, made) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = checked;
    label.title = about ?? "";
    box.addEventListener("change", () => {
      made();
      show(path, box.checked);
    });
    label.append(box, ` ${path}`);
    return label;
  };
  const further = JSON.parse(document.getElementById("columns").textContent);
  const given = [...head.cells].filter((cell) => cell.dataset.path);
  chooser.querySelector(".choices").append(
    ...given.map((cell) => choice(cell.dataset.path, true, "", () => {})),
    ...further.map((column) => {
      let there = false;
      return choice(column.path, false, column.about, () => {
        if (!there) add(column);
        there = true;
      });
    }),
  );
  chooser.hidden = false;
})();
