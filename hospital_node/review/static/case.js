// The page of a case: its panes, their tools, and the form of the read.

import { keepDraft } from "./draft.js";
import { locking } from "./idle.js";
import { obeyKeys } from "./keys.js";
import { Pane } from "./pane.js";
import { ask, Series } from "./pictures.js";

const root = document.getElementById("case");
const address = `/cases/${root.dataset.case}`;
const panes = [0, 1].map((number) => new Pane(document.getElementById(`pane-${number}`)));
const preset = document.getElementById("preset");
const centre = document.getElementById("centre");
const width = document.getElementById("width");
const form = document.getElementById("read");
const button = (name) => document.querySelector(`[data-do=${name}]`);
let active = panes[0];

/** Show in the tools what the active pane shows. */
function show() {
  const { look, picture } = active;
  const windows = picture?.described.windows || [];
  const names = windows.map((one, place) => (place < 9 ? `${place + 1}  ${one.name}` : one.name));
  const isSame = preset.options.length === names.length + 1;
  if (!isSame || names.some((name, place) => preset.options[place + 1].textContent !== name)) {
    const options = names.map((name, place) => new Option(name, place));
    preset.replaceChildren(new Option("own", "", true), ...options);
  }
  const place = windows.findIndex(
    (one) => look && one.centre === look.centre && one.width === look.width,
  );
  preset.value = place < 0 ? "" : String(place);
  for (const one of [preset, centre, width, button("invert")]) one.disabled = !look;
  if (look) {
    if (document.activeElement !== centre) centre.value = Math.round(look.centre * 10) / 10;
    if (document.activeElement !== width) width.value = Math.round(look.width * 10) / 10;
    button("invert").setAttribute("aria-pressed", String(look.isInverted));
  }
  const ruler = document.querySelector("[data-tool=ruler]");
  ruler.disabled = !active.isMeasurable;
  ruler.title = ruler.disabled ? "The image does not say how far its pixels are apart" : "";
  if (ruler.disabled && active.tool === "ruler") choose("window");
}

function choose(tool) {
  for (const pane of panes) pane.tool = tool;
  for (const one of document.querySelectorAll("[data-tool]")) {
    one.setAttribute("aria-pressed", String(one.dataset.tool === tool));
  }
}

function take(pane, place) {
  const chosen = pane.picture?.described.windows[place];
  if (chosen) pane.setLook({ ...chosen });
}

/** Offer the series of studies in a pane and open the first of them. */
async function fill(pane, studies) {
  const row = pane.root.querySelector(".series");
  const made = studies.flatMap((study) =>
    study.series.map((one, place) => {
      const series = new Series(`${address}/pictures/${study.study}/${place}`, one);
      const tab = document.createElement("button");
      tab.type = "button";
      tab.textContent = study.study ? `${study.name}: ${one.name}` : one.name;
      tab.setAttribute("aria-pressed", "false");
      tab.addEventListener("click", () => {
        for (const other of row.children) other.setAttribute("aria-pressed", String(other === tab));
        pane.open(series);
        pane.canvas.focus();
      });
      return { tab, series };
    }),
  );
  row.replaceChildren(...made.map((one) => one.tab));
  if (!made.length) return pane.fail(new Error("This study has no image that can be shown."));
  made[0].tab.setAttribute("aria-pressed", "true");
  return pane.open(made[0].series);
}

async function togglePriors() {
  const [, beside] = panes;
  const isShown = beside.root.hidden;
  beside.root.hidden = !isShown;
  button("priors").setAttribute("aria-pressed", String(isShown));
  if (!isShown) {
    panes[0].canvas.focus();
    return;
  }
  try {
    const body = new URLSearchParams({ form_token: form.elements.form_token.value });
    const { studies } = await ask(`${address}/priors`, { method: "POST", body });
    await fill(beside, studies.filter((study) => study.study));
  } catch (fault) {
    beside.fail(fault);
  }
}

const keys = document.getElementById("keys");
const page = {
  f: () => form.querySelector("input:not([type=hidden])").focus(),
  "?": () => keys.showModal(),
  p: () => button("priors") && togglePriors(),
  preset: take,
};

for (const pane of panes) {
  obeyKeys(pane, page);
  pane.addEventListener("focus", () => {
    active = pane;
    show();
  });
  pane.addEventListener("change", () => pane === active && show());
}
for (const one of document.querySelectorAll("[data-tool]")) {
  one.addEventListener("click", () => choose(one.dataset.tool));
}
preset.addEventListener("change", () => preset.value !== "" && take(active, Number(preset.value)));
for (const field of [centre, width]) {
  field.addEventListener("change", () => {
    if (field.value !== "" && Number.isFinite(field.valueAsNumber)) {
      active.setLook({ [field.id]: field.valueAsNumber });
    }
  });
}
button("smaller").addEventListener("click", () => active.zoom(0.8));
button("larger").addEventListener("click", () => active.zoom(1.25));
button("fit").addEventListener("click", () => active.fit());
button("whole").addEventListener("click", () => active.zoom(1 / active.place.scale));
button("invert").addEventListener(
  "click",
  () => active.look && active.setLook({ isInverted: !active.look.isInverted }),
);
button("priors")?.addEventListener("click", togglePriors);
button("keys").addEventListener("click", () => keys.showModal());
document.querySelector(".panel").addEventListener("keydown", (event) => {
  if (event.key === "Escape") active.canvas.focus();
});

locking.before = keepDraft(form, `${address}/draft`);
try {
  const { studies } = await ask(`${address}/pictures`);
  await fill(panes[0], studies.filter((study) => !study.study));
} catch (fault) {
  panes[0].fail(fault);
}
if (document.activeElement === document.body) panes[0].canvas.focus();
