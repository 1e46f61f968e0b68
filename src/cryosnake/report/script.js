"use strict";
// The page is complete without this script: it adds filters, a larger view and the page's age.
for (const tools of document.querySelectorAll(".tools[data-table]")) {
  const rows = [...document.getElementById(tools.dataset.table).tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const search = tools.querySelector("input");
  const select = tools.querySelector("select");
  const count = tools.querySelector("output");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      const fits = words.every((word) => texts[i].includes(word)) &&
        (!select.value || row.dataset.kind === select.value);
      row.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} of ${rows.length} shown`;
  };
  search.addEventListener("input", apply);
  select.addEventListener("change", apply);
  tools.hidden = false;
  apply();
}

const dialog = document.querySelector("dialog");
document.addEventListener("click", (event) => {
  const target = event.target;
  if (dialog.open) {
    dialog.close();
  } else if (target.matches(".card img, .card .picked *")) {
    // picks are shown larger with their circles, as they are shown or hidden now
    const picked = target.closest(".picked");
    const large = (picked || target).cloneNode(true);
    const hidden = picked && !picked.closest(".shown").querySelector("input").checked;
    if (hidden) large.querySelector(".rings").remove();
    dialog.replaceChildren(large);
    dialog.showModal();
  }
});

const written = document.querySelector("time");
const age = document.getElementById("age");
const tell = () => {
  const minutes = Math.floor((Date.now() - Date.parse(written.dateTime)) / 60000);
  if (minutes < 1) return;
  age.textContent = minutes < 120 ? `(${minutes} min ago)` : `(${Math.floor(minutes / 60)} h ago)`;
  age.classList.toggle("stale", minutes >= 60);
};
tell();
setInterval(tell, 30000);
