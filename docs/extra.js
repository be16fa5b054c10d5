// Material loads these by itself but leaves three things to the page.
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
  // The page has settled at this width; tests wait for it.
  const settle = () => {
    reach();
    document.body.dataset.settled = innerWidth;
  };
  reach();
  setTimeout(settle, 300);
  addEventListener("resize", () => setTimeout(settle, 100));
});
