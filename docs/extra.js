// Material loads these by itself but leaves four things to the page.
document$.subscribe(() => {
  const name = (selector, label) =>
    document.querySelectorAll(selector).forEach((each) => each.setAttribute("aria-label", label));
  name(".md-search[role=dialog]", document.querySelector(".md-search__input")?.placeholder || "Search");
  document.querySelectorAll("nav[aria-label]").forEach((each, number, all) => {
    const label = each.getAttribute("aria-label");
    if ([...all].slice(0, number).some((before) => before.getAttribute("aria-label") === label))
      each.setAttribute("aria-label", `${label} (${number})`);
  });
  // What scrolls can be scrolled by keyboard.
  const reach = () =>
    document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, .md-typeset .linenodiv, .md-typeset p:has(> svg)")
      .forEach((each) => {
        if (each.scrollWidth > each.clientWidth) {
          each.tabIndex = 0;
          if (!each.matches("code")) each.setAttribute("role", "region"), each.setAttribute("aria-label", each.matches("p") ? "Drawing" : "Table");
        }
      });
  reach();
  setTimeout(reach, 300);
});
// Of a traceback that is pasted into the search, the error itself is looked for. Words in double
// quotes would all have to be on the page, a path among them.
const search = document.querySelector(".md-search__input");
search?.addEventListener("paste", (event) => {
  const lines = event.clipboardData.getData("text").trim().split("\n");
  const last = lines.findLastIndex((line) => /^\s*[\w.]*(Error|Exception|Warning)\b/.test(line));
  const error = lines.slice(Math.max(last, 0)).join(" ").replace(/["“”]/g, " ").slice(0, 400);
  event.preventDefault();
  search.setRangeText(error, search.selectionStart, search.selectionEnd, "end");
  search.dispatchEvent(new KeyboardEvent("keyup"));
});
