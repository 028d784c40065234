// Fetches pictures and checks them: what is drawn are the very bytes that the node's digest is of,
// or nothing is drawn. Pictures near the one that is looked at are fetched ahead.

const KEPT_BYTES = 512 * 1024 * 1024;
const AHEAD = 6;

export class Fault extends Error {}

async function said(answer) {
  const problem = await answer.json().catch(() => ({}));
  if (problem.to) location.assign(problem.to);
  return problem.problem || `The node answered ${answer.status}.`;
}

/** JSON of this case. */
export async function ask(address, options = {}) {
  const answer = await fetch(address, {
    ...options,
    headers: { ...options.headers, Accept: "application/json" },
  }).catch(() => {
    throw new Fault("The node cannot be reached.");
  });
  if (!answer.ok) throw new Fault(await said(answer));
  return answer.json();
}

function samplesOf(buffer, form) {
  if (form === "rgb-u8") return new Uint8Array(buffer);
  return form === "grey-i16" ? new Int16Array(buffer) : new Uint16Array(buffer);
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function load(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => {
    throw new Fault("The node cannot be reached; the image is not shown.");
  });
  if (!answer.ok) throw new Fault(await said(answer));
  const content = await answer.arrayBuffer();
  const digest = `sha256:${hex(await crypto.subtle.digest("SHA-256", content))}`;
  if (digest !== answer.headers.get("Wardround-Pixels-Digest")) {
    throw new Fault("What arrived is not what the node sent; the image is not shown.");
  }
  const described = JSON.parse(answer.headers.get("Wardround-Picture"));
  const samples = samplesOf(content, described.form);
  const expected = described.rows * described.columns * (described.form === "rgb-u8" ? 3 : 1);
  if (samples.length !== expected) {
    throw new Fault("The image has another size than it says; it is not shown.");
  }
  return { samples, described, digest, size: content.byteLength };
}

/** The pictures of one series. */
export class Series {
  constructor(address, { name, pictures, note }) {
    Object.assign(this, { address, name, pictures, note, kept: new Map() });
  }

  /** The picture of a number, counted from 0. */
  get(number) {
    const found = this.kept.get(number);
    if (found) return found;
    const coming = load(`${this.address}/${number}`);
    this.kept.set(number, coming);
    coming.then((picture) => this.trim(number, picture.size), () => this.kept.delete(number));
    return coming;
  }

  /** Fetch those that come next in a direction. */
  ahead(number, step) {
    for (let next = 1; next <= AHEAD; next += 1) {
      const place = number + next * step;
      if (place >= 0 && place < this.pictures) this.get(place).catch(() => {});
    }
  }

  trim(number, size) {
    const most = Math.max(2 * AHEAD, Math.floor(KEPT_BYTES / Math.max(1, size)));
    for (const place of this.kept.keys()) {
      if (this.kept.size <= most) return;
      if (Math.abs(place - number) > AHEAD) this.kept.delete(place);
    }
  }
}
