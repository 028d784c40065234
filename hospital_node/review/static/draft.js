// The form of a read: what is entered is saved soon after, and whether it is, is said.

import { ask } from "./pictures.js";

const SOON_MS = 700;
const AGAIN_MS = 5000;

/** Have a form save itself; returns what saves it at once. */
export function keepDraft(form, address) {
  const words = form.querySelector(".saved");
  let timer = 0;
  let isSaved = true;
  let last = Promise.resolve();

  const say = (text, isBad = false) => {
    words.textContent = text;
    words.classList.toggle("bad", isBad);
  };

  const save = async () => {
    clearTimeout(timer);
    if (isSaved) return;
    isSaved = true;
    const fields = new FormData(form);
    fields.delete("password");
    fields.delete("reason");
    try {
      const options = { method: "POST", body: new URLSearchParams(fields) };
      const { saved_us } = await ask(address, options);
      const time = new Date(saved_us / 1000).toLocaleTimeString("en-GB");
      if (isSaved) say(`Draft saved at ${time}`);
    } catch (fault) {
      isSaved = false;
      say(`The draft is not saved yet. ${fault.message}`, true);
      timer = setTimeout(saveInTurn, AGAIN_MS);
    }
  };

  // One after the other: a slow answer must not put an older draft over a newer one.
  const saveInTurn = () => (last = last.then(save));

  form.addEventListener("input", (event) => {
    if (event.target.type === "password" || event.target.name === "reason") return;
    chooseEither(form, event.target);
    isSaved = false;
    say("Saving …");
    clearTimeout(timer);
    timer = setTimeout(saveInTurn, SOON_MS);
  });
  return saveInTurn;
}

/** "None of these" and any of these are never both chosen. */
function chooseEither(form, changed) {
  if (!changed.checked || changed.type !== "checkbox") return;
  const others = changed.name === "none" ? "finding" : "none";
  for (const one of form.querySelectorAll(`input[name=${others}]`)) one.checked = false;
}
