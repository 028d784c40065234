// From stored values to grey levels, by PS3.3 C.11.2.1.2 and C.11.2.1.3, as the node does it for
// training (hospital_node/imaging/pixels.py). Nothing of the page is known here.

/** A value through a window on to [0, 1], not yet clipped. */
export function shade(value, { centre, width, function: form }) {
  if (form === "LINEAR") {
    if (width === 1) return value <= centre - 0.5 ? 0 : 1;
    return (value - (centre - 0.5)) / (width - 1) + 0.5;
  }
  if (form === "LINEAR_EXACT") return (value - centre) / width + 0.5;
  if (form === "SIGMOID") {
    return 1 / (1 + Math.exp(Math.min(700, Math.max(-700, (-4 * (value - centre)) / width))));
  }
  throw new Error(`no window function ${form}`);
}

/** The grey level, 0 to 255, of a shade. */
export function grey(shaded, isInverted) {
  const clipped = Math.min(1, Math.max(0, shaded));
  return Math.floor((isInverted ? 1 - clipped : clipped) * 255 + 0.5);
}

/** Grey levels of all 65,536 samples; a signed sample stands at its value modulo 65,536. */
export function greyTable(described, look) {
  const table = new Uint8Array(65536);
  const isSigned = described.form === "grey-i16";
  const isInverted = described.is_inverted !== look.isInverted;
  for (let place = 0; place < 65536; place += 1) {
    const stored = isSigned && place > 32767 ? place - 65536 : place;
    table[place] = grey(shade(stored * described.slope + described.intercept, look), isInverted);
  }
  if (described.padding) {
    for (let stored = described.padding[0]; stored <= described.padding[1]; stored += 1) {
      table[stored & 0xffff] = 0;
    }
  }
  return table;
}
