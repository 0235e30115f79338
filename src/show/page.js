"use strict";
// Shows the samples of a step and a problem, the runs beside each other. Texts are put in as text: nothing in a completion is markup.
(() => {
  const { runs, rows } = JSON.parse(document.getElementById("samples").textContent);
  const [step, problem, place] = ["step", "problem", "shown"].map((id) => document.getElementById(id));
  const element = (name, text, parent) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };
  const number = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : "none");
  const options = (select, values, kept) => {
    select.replaceChildren(...values.map((value) => new Option(value, value)));
    if (values.includes(kept)) select.value = kept;
  };
  const ofStep = () => rows.filter(([, row]) => String(row.step) === step.value);
  const pair = (list, name, value) => {
    const both = element("div", undefined, list);
    element("dt", name, both);
    element("dd", value, both);
  };
  const candidate = (row, at, card) => {
    element("h3", `Candidate ${at + 1}`, card);
    const list = element("dl", undefined, card);
    pair(list, "reward", number((row.rewards || [])[at]));
    for (const [label, values] of Object.entries(row.components || {})) pair(list, label, number((values || [])[at]));
    for (const [label, notes] of Object.entries(row.reward_notes || {})) pair(list, `${label} says`, JSON.stringify((notes || [])[at]));
    if ((row.upsilon || []).length) pair(list, "Υ", number(row.upsilon[at]));
    if ((row.advantages || []).length) pair(list, "advantage", number(row.advantages[at]));
    if ((row.lengths || []).length) pair(list, "tokens", String(row.lengths[at]));
    pair(list, "ended by", String((row.finish || [])[at]));
    element("pre", row.completions[at], card).tabIndex = 0;
  };
  const card = ([run, row]) => {
    const made = element("section");
    made.className = "sample";
    element("h3", runs[run], made);
    const list = element("dl", undefined, made);
    pair(list, "gold answer", row.answer);
    const prompt = element("details", undefined, made);
    element("summary", "Prompt", prompt);
    element("pre", row.prompt, prompt).tabIndex = 0;
    (row.completions || []).forEach((_, at) => candidate(row, at, made));
    (row.integrations || []).forEach((text, at) => {
      element("h3", `Integration ${at + 1}`, made);
      element("pre", text, made).tabIndex = 0;
    });
    return made;
  };
  const show = () => place.replaceChildren(...ofStep().filter(([, row]) => row.problem === problem.value).map(card));
  const choose = () => {
    options(problem, [...new Set(ofStep().map(([, row]) => row.problem))], problem.value);
    show();
  };
  options(step, [...new Set(rows.map(([, row]) => String(row.step)))]);
  step.selectedIndex = step.options.length - 1;
  step.addEventListener("change", choose);
  problem.addEventListener("change", show);
  choose();
})();
