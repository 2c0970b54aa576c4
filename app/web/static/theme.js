// Before the first paint: the colours that were chosen here, or else the system's.
(() => {
  const names = { auto: "as the system has them", light: "light", dark: "dark" };
  const glyphs = { auto: "◐", light: "☀", dark: "☾" };
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = localStorage.getItem("theme");
  let chosen = stored in names ? stored : "auto";

  function apply() {
    root.dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    document.dispatchEvent(new Event("theme"));
  }

  function label(button) {
    button.textContent = glyphs[chosen];
    button.setAttribute("aria-label", `Colours: ${names[chosen]}`);
    button.title = `Colours: ${names[chosen]}`;
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    label(button);
    button.addEventListener("click", () => {
      const order = Object.keys(names);
      chosen = order[(order.indexOf(chosen) + 1) % order.length];
      localStorage.setItem("theme", chosen);
      apply();
      label(button);
    });
    document.addEventListener("click", (event) => {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        if (!menu.contains(event.target)) menu.open = false;
      }
    });
  });
})();
