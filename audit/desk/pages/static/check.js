// Recomputes in the browser what an entry's proof says (RFC 6962 §2.1, C2SP tlog-proof), step by step.
// It came from the server that it checks: it shows how checking works and settles nothing by itself.
"use strict";
(() => {
  const form = document.getElementById("check");
  if (!form || !window.crypto || !crypto.subtle) return;
  form.hidden = false;
  const list = document.getElementById("steps");
  const verdict = document.getElementById("verdict");

  const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  const join = (...parts) => {
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
    return whole;
  };
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
  const say = (text, value) => {
    const item = document.createElement("li"), body = document.createElement("span");
    body.textContent = text;
    if (value) body.appendChild(document.createElement("code")).textContent = value;
    item.appendChild(body);
    list.appendChild(item);
  };
  const end = (kind, text) => {
    const word = document.createElement("span");
    word.className = "status " + kind;
    word.textContent = text;
    verdict.replaceChildren(word);
    verdict.dataset.outcome = kind;
  };
  const fail = (text) => { throw new Error(text); };

  const parse = (text) => {
    const cut = text.indexOf("\n\n"), lines = text.slice(0, cut).split("\n");
    if (cut < 0 || lines.shift() !== "c2sp.org/tlog-proof@v1") fail("This is no tlog-proof.");
    if (lines[0].startsWith("extra ")) lines.shift();
    const index = /^index (\d+)$/.exec(lines.shift());
    const note = text.slice(cut + 2), end = note.indexOf("\n\n");
    const [origin, size, root] = note.slice(0, end).split("\n");
    if (!index || end < 0 || !/^\d+$/.test(size)) fail("The proof or its checkpoint is malformed.");
    return {
      index: BigInt(index[1]), hashes: lines.map(bytesOf), origin, size: BigInt(size),
      root: bytesOf(root), signed: note.slice(0, end + 1), signatures: note.slice(end + 2).split("\n"),
    };
  };

  // RFC 9162 §2.1.3.2
  const climb = async (proof, leaf) => {
    let fn = proof.index, sn = proof.size - 1n, hash = leaf;
    if (fn > sn) fail("The index is not below the checkpoint's size.");
    for (const other of proof.hashes) {
      if (sn === 0n) fail("The path is too long for this tree.");
      const isRight = (fn & 1n) === 1n || fn === sn;
      hash = await sha256(isRight ? join([1], other, hash) : join([1], hash, other));
      say(isRight ? "with the hash on its left, SHA-256(0x01 ‖ left ‖ ours)" : "with the hash on its right, SHA-256(0x01 ‖ ours ‖ right)", hex(hash));
      if (isRight) while ((fn & 1n) === 0n && fn !== 0n) { fn >>= 1n; sn >>= 1n; }
      fn >>= 1n; sn >>= 1n;
    }
    if (sn !== 0n) fail("The path is too short for this tree.");
    return hash;
  };

  const checkSignature = async (proof, vkey) => {
    const [name, id, ...rest] = vkey.trim().split("+");
    const key = bytesOf(rest.join("+"));
    if (name !== proof.origin || key.length !== 33 || key[0] !== 1) fail("The log key is not one of this log.");
    const known = (await sha256(join(new TextEncoder().encode(name + "\n"), key))).slice(0, 4);
    if (hex(known) !== id) fail("The log key's id does not fit the key.");
    const line = proof.signatures.find((one) => one.startsWith(`— ${name} `) && same(bytesOf(one.split(" ")[2]).slice(0, 4), known));
    if (!line) fail("The checkpoint has no signature by this log key.");
    const signature = bytesOf(line.split(" ")[2]).slice(4);
    let verifier;
    try { verifier = await crypto.subtle.importKey("raw", key.slice(1), "Ed25519", false, ["verify"]); } catch { return null; }
    return crypto.subtle.verify("Ed25519", verifier, signature, new TextEncoder().encode(proof.signed));
  };

  const check = async () => {
    const leaf = await sha256(join([0], bytesOf(form.dataset.entry)));
    say("leaf hash: SHA-256(0x00 ‖ the entry's bytes)", hex(leaf));
    if (hex(leaf) !== form.dataset.leaf) fail("This is not the leaf hash that the page shows.");
    const proof = parse(document.getElementById("proof").value);
    say(`the proof is of entry ${proof.index} in a tree of ${proof.size} entries, ${proof.hashes.length} hashes long`);
    const root = await climb(proof, leaf);
    say("the checkpoint's root", hex(proof.root));
    if (!same(root, proof.root)) fail("The path does not lead to the checkpoint's root.");
    const signed = await checkSignature(proof, document.getElementById("vkey").value);
    if (signed === false) fail("The log's signature under the checkpoint is wrong.");
    say(signed ? "the log's Ed25519 signature under the checkpoint holds" : "this browser cannot check Ed25519; the signature is left unchecked");
    end("good", signed ? "Agrees: this entry is in the log that signed this checkpoint." : "Agrees as far as this browser can check.");
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    list.replaceChildren();
    try { await check(); } catch (fault) { end("bad", `Does not agree. ${fault.message}`); }
  });
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      button.textContent = "Copied";
    });
  }
})();
