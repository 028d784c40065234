// Locks the screen when nobody uses it, and tells the node while somebody does. A draft is saved
// first, by whoever has one to save (`locking.before`).

const form = document.getElementById("lock");
const idleMs = Number(form.dataset.idleMinutes) * 60000;
const TELL_MS = 60000;
let used = Date.now();
let told = used;

export const locking = { before: async () => {} };

async function lock() {
  await locking.before();
  form.requestSubmit();
}

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) {
  addEventListener(
    kind,
    () => {
      used = Date.now();
      if (used - told < TELL_MS) return;
      told = used;
      const body = new URLSearchParams(new FormData(form));
      fetch("/alive", { method: "POST", body, headers: { Accept: "application/json" } })
        .then((answer) => answer.status === 423 && location.assign("/locked"))
        .catch(() => {});
    },
    { passive: true, capture: true },
  );
}

setInterval(() => Date.now() - used > idleMs && lock(), 5000);
