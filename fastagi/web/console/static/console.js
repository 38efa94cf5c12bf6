// SPDX-License-Identifier: MIT
// What the pages need beyond htmx: times that count on, the live stream, dialogs, copying.
// All texts come from the page, so that they are in its language.
(() => {
  "use strict";

  const body = document.body;
  const words = JSON.parse(body.dataset.words || "{}");

  // -- times that count on ---------------------------------------------------

  // The clock of the browser may be wrong: what counts is the time of the page.
  const skewMs = body.dataset.now ? Date.now() - Number(body.dataset.now) * 1000 : 0;

  const two = (number) => String(number).padStart(2, "0");

  const fill = (text, values) =>
    text.replace(/%\((\w+)\)s/g, (_, name) => String(values[name]));

  const timer = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const h = Math.floor(whole / 3600);
    const min = Math.floor(whole / 60) % 60;
    return h ? `${h}:${two(min)}:${two(whole % 60)}` : `${min}:${two(whole % 60)}`;
  };

  const span = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return fill(words.s, { s: whole });
    if (whole < 3600) return fill(words.min, { min: Math.floor(whole / 60) });
    const h = Math.floor(whole / 3600);
    const min = Math.floor(whole / 60) % 60;
    if (h < 24) return min ? fill(words.h, { h, min: two(min) }) : fill(words.whole_h, { h });
    const d = Math.floor(h / 24);
    return h % 24 ? fill(words.d, { d, h: h % 24 }) : fill(words.whole_d, { d });
  };

  const countOn = () => {
    const now = (Date.now() - skewMs) / 1000;
    for (const one of document.querySelectorAll("[data-since]")) {
      const gone = now - Number(one.dataset.since);
      const text = one.dataset.as === "timer" ? timer(gone) : span(gone);
      if (one.textContent !== text) one.textContent = text;
    }
    for (const one of document.querySelectorAll("[data-clock]")) {
      const zone = one.dataset.clock || undefined;
      const text = new Date(now * 1000).toLocaleTimeString("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
      if (one.textContent !== text) one.textContent = text;
    }
  };
  countOn();
  setInterval(countOn, 1000);

  // -- the live stream -------------------------------------------------------

  // The stream only says that something has changed. The page then fetches its changed
  // part and morphs it into place, so focus and open details stay.
  const live = document.getElementById("live");
  const connection = document.getElementById("connection");
  const address = live && live.dataset.stream;
  let source = null;
  let retry = null;

  const refresh = () => {
    // A page that nobody sees costs nothing; it is brought up to date when it is shown.
    if (document.hidden) return;
    // Somebody who marks tasks or types keeps what is on the screen.
    if (live.querySelector("input[type=checkbox][name=task]:checked")) return;
    if (document.querySelector("dialog[open]")) return;
    window.htmx.trigger(live, "live");
  };

  const lost = () => {
    if (connection) connection.hidden = false;
    body.dataset.connected = "no";
    if (source) source.close();
    source = null;
    if (!retry) retry = setTimeout(again, 2000);
  };

  // If the session has ended, the answer leads to the login.
  const again = () => {
    connect();
    refresh();
  };

  const found = () => {
    if (connection) connection.hidden = true;
    if (body.dataset.connected === "no") refresh();
    body.dataset.connected = "yes";
  };

  const connect = () => {
    retry = null;
    source = new EventSource(address);
    source.addEventListener("open", found);
    source.addEventListener("changed", refresh);
    source.addEventListener("error", lost);
  };

  if (address) {
    connect();
    // A page that is shown again may have missed changes.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) refresh();
    });
  }

  // -- dialogs ---------------------------------------------------------------

  // A link to a form opens the form in a dialog; without this script it is a page.
  const dialog = document.getElementById("dialog");

  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || !dialog || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      const answer = await fetch(link.href, { headers: { "X-Dialog": "1" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const form = page.getElementById("form");
      if (!answer.ok || !form) throw new Error(String(answer.status));
      dialog.replaceChildren(document.importNode(form, true));
      window.htmx.process(dialog);
      dialog.showModal();
      const first = dialog.querySelector("[autofocus], input:not([type=hidden]), textarea, select");
      if (first) first.focus();
    } catch (error) {
      window.location.assign(link.href);
    }
  });

  document.addEventListener("click", (event) => {
    const close = event.target.closest("[data-close]");
    if (close && dialog && dialog.open) {
      event.preventDefault();
      dialog.close();
    }
  });

  // -- smaller things --------------------------------------------------------

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    const said = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = words.copied;
    } catch (error) {
      said.textContent = words.not_copied;
    }
  });

  document.addEventListener("click", (event) => {
    const one = event.target.closest("[data-print]");
    if (one) window.print();
  });

  document.addEventListener("change", (event) => {
    const all = event.target.closest("[data-all]");
    if (all) {
      for (const box of document.querySelectorAll(`input[name=${all.dataset.all}]`)) {
        box.checked = all.checked;
      }
    }
    if (event.target.closest("[data-submits]")) event.target.form.requestSubmit();
  });

  // A second press of a button must not send a form twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
  });
})();
