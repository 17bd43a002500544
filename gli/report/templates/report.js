"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const word = (key) => data.words[key];
  const make = (tag, text, of) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (of) element.className = of;
    return element;
  };
  const seconds = (s) => (s < 0.0995 ? `${(s * 1000).toFixed(s < 0.00995 ? 1 : 0)} ms` : `${s.toFixed(s < 9.995 ? 2 : 1)} s`);

  // What a check, or a bar of the waterfall, rests on; made when it is unfolded.
  const pretty = (fact) => JSON.stringify(fact.unknown ? { unknown: fact.unknown } : fact.observation, null, 2);
  const spent = (fact) => {
    const phases = Object.entries(fact.phases_s || {}).map(([name, s]) => `${data.phases[name] || name} ${seconds(s)}`);
    const sent = Object.entries(fact.requests || {}).map(([kind, n]) => `${kind} ${n}`);
    return [
      seconds(fact.duration_s),
      ...phases,
      ...(sent.length ? [`${word("requests")}: ${sent.join(", ")}`] : []),
      ...(fact.attempts > 1 ? [word("tries").replace("{n}", fact.attempts)] : []),
    ].join(" · ");
  };
  const factBox = (name, open) => {
    const box = make("details", undefined, "fact");
    const summary = make("summary");
    summary.append(make("code", name));
    const fact = data.facts[name];
    if (fact) {
      const text = pretty(fact);
      summary.append(make("span", ` ${spent(fact)}`, "muted"));
      box.append(summary, make("pre", text));
      box.open = open || text.length < 400;
    } else {
      box.append(summary, make("pre", word("not recorded")));
    }
    return box;
  };
  const link = (label) => {
    const a = make("a");
    a.href = `#${encodeURIComponent(label)}`;
    a.append(make("code", label));
    return a;
  };
  const unfold = (row) => {
    const check = data.checks[row.dataset.i];
    const inside = make("div", undefined, "inside");
    const list = make("dl");
    const tell = (term, value) => {
      if (value === undefined || value === null || value === "") return;
      const dd = make("dd");
      dd.append(value);
      list.append(make("dt", word(term)), dd);
    };
    tell("proves", data.proves[check.id]);
    tell("outcome", data.outcomes[check.outcome]);
    tell("severity", word(check.severity === "warn" ? "warning" : "holds the verdict"));
    tell("phase", check.phase);
    const tries = check.attempts > 1 ? ` · ${word("tries").replace("{n}", check.attempts)}` : "";
    tell("duration", seconds(check.duration_s) + tries);
    if (check.blocked_by) tell("blocked by", link(check.blocked_by));
    tell("to do", check.hint);
    inside.append(list);
    const red = !["passed", "waived", "not-applicable"].includes(check.outcome);
    check.facts.forEach((name) => inside.append(factBox(name, red && check.facts.length === 1)));
    row.append(inside);
  };
  document.addEventListener("toggle", ({ target }) => {
    if (!target.open || target.dataset.filled) return;
    if (target.matches(".check")) unfold(target);
    else if (target.matches(".bar")) {
      const fact = data.facts[target.dataset.fact];
      target.append(make("p", spent(fact)), make("pre", pretty(fact)));
    } else return;
    target.dataset.filled = "yes";
  }, true);

  // Search, outcomes, one part of the drawing: all of them narrow the list of checks.
  const groups = [...document.querySelectorAll(".group[data-outcome]")].map((box) => ({
    box,
    outcome: box.dataset.outcome,
    open: box.open,
    count: box.querySelector(".badge"),
    rows: [...box.querySelectorAll(":scope > .check")].map((row) => ({ row, text: row.textContent.toLowerCase() })),
  }));
  const chosen = new Set();
  let part = null;
  const search = $("search");
  const narrow = () => {
    if (!search) return;
    const wanted = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const labels = part === null ? null : new Set(data.nodes[part].cases);
    const narrowed = wanted.length > 0 || chosen.size > 0 || labels !== null;
    let shown = 0;
    for (const { box, outcome, open, count, rows } of groups) {
      let n = 0;
      for (const { row, text } of rows) {
        const match = (!chosen.size || chosen.has(outcome)) && (!labels || labels.has(row.id)) && wanted.every((w) => text.includes(w));
        row.hidden = !match;
        n += match;
      }
      box.hidden = n === 0;
      box.open = narrowed ? n > 0 : open;
      count.textContent = n;
      shown += n;
    }
    $("found").textContent = word("shown").replace("{n}", shown).replace("{all}", data.checks.length);
    $("nothing").hidden = shown > 0;
    $("clear").hidden = !narrowed;
    $("part").hidden = labels === null;
    if (labels) $("part").textContent = `${word("only part").replace("{name}", data.nodes[part].name)} ×`;
    document.querySelectorAll(".node").forEach((node) => node.classList.toggle("chosen", part !== null && +node.dataset.node === part));
    document.querySelectorAll("button[data-outcome]").forEach((b) => b.setAttribute("aria-pressed", chosen.has(b.dataset.outcome)));
  };
  const showAll = () => {
    chosen.clear();
    part = null;
    if (search) search.value = "";
    narrow();
  };
  if (search) {
    let waiting = 0;
    search.addEventListener("input", () => {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(narrow);
    });
    document.querySelectorAll("button[data-outcome]").forEach((button) => button.addEventListener("click", () => {
      const outcome = button.dataset.outcome;
      if (!chosen.delete(outcome)) chosen.add(outcome);
      narrow();
    }));
    $("clear").addEventListener("click", () => { showAll(); search.focus(); });
    $("part").addEventListener("click", () => { part = null; narrow(); search.focus(); });
  }
  document.querySelectorAll(".node").forEach((node) => node.addEventListener("click", (event) => {
    event.preventDefault();
    const index = +node.dataset.node;
    part = part === index ? null : index;
    narrow();
    if (part === null) return;
    $("checks").scrollIntoView();
    $("part").focus({ preventScroll: true });
  }));

  // A link to a check unfolds it, wherever it is.
  const go = () => {
    let id;
    try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const row = id && $(id);
    if (!row || !row.matches(".check")) return;
    if (row.hidden) showAll();
    row.closest(".group").open = true;
    row.open = true;
    row.scrollIntoView({ block: "center" });
    row.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", go);
  document.addEventListener("click", (event) => {
    const a = event.target.closest('a[href^="#"]');
    if (a && a.hash === location.hash) go();
  });
  go();

  const bars = $("all-bars");
  if (bars) bars.addEventListener("click", () => {
    $("bars").classList.remove("few");
    bars.remove();
  });

  const expired = $("expired");
  if (Date.parse(expired.dataset.expires) < Date.now()) expired.hidden = false;
})();
