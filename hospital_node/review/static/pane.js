// A pane: one picture on a canvas, with where it lies, what it is worth and how far it is.
// What its window is shown with elsewhere on the page is not known here: it says when it changed.

import { greyTable } from "./window.js";

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export class Pane extends EventTarget {
  constructor(root) {
    super();
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.look = null;
    this.tool = "window";
    this.place = { scale: 1, x: 0, y: 0, isFitted: true };
    this.turn = 0;
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.listen();
  }

  text(name, words) {
    this.root.querySelector(`.${name}`).textContent = words;
  }

  /** Show a series from its first picture on. */
  async open(series) {
    this.series = series;
    this.picture = null;
    this.place.isFitted = true;
    this.cross = null;
    this.rule = [];
    await this.turnTo(0, true);
  }

  /** Show another picture of the series; a fault is shown in its place. */
  async turnTo(number, isNew = false) {
    const wanted = Math.min(this.series.pictures - 1, Math.max(0, number));
    if (!isNew && wanted === this.number) return;
    const turn = (this.turn += 1);
    const step = wanted >= (this.number ?? 0) ? 1 : -1;
    this.number = wanted;
    try {
      const picture = await this.series.get(wanted);
      if (turn !== this.turn) return;
      this.take(picture, isNew);
      this.series.ahead(wanted, step);
    } catch (fault) {
      if (turn === this.turn) this.fail(fault);
    }
  }

  fail(fault) {
    this.picture = null;
    this.root.querySelector(".fault").hidden = false;
    this.text("fault", `No image. ${fault.message}`);
    for (const name of ["corner", "value", "proof", "ruled", "left", "right", "above", "below"]) {
      this.text(name, "");
    }
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  take(picture, isNew) {
    this.root.querySelector(".fault").hidden = true;
    const before = this.picture?.described;
    this.picture = picture;
    const { described } = picture;
    if (isNew || !this.look) {
      this.look = described.windows.length ? { ...described.windows[0], isInverted: false } : null;
    }
    if (isNew || before?.rows !== described.rows || before?.columns !== described.columns) {
      this.place.isFitted = true;
      this.rule = [];
    }
    const { marks } = described;
    this.text("left", marks.left || "");
    this.text("right", marks.right || "");
    this.text("above", marks.top || "");
    this.text("below", marks.bottom || "");
    this.text("proof", `Pixels checked, ${picture.digest}`);
    this.paint();
    this.dispatchEvent(new Event("change"));
  }

  /** Grey levels of the whole picture, made anew when its window changed. */
  paint() {
    if (!this.picture) return;
    const { samples, described } = this.picture;
    const { rows, columns } = described;
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    if (described.form === "rgb-u8") {
      for (let from = 0, to = 0; to < pixels.length; to += 1, from += 3) {
        pixels[to] =
          0xff000000 | (samples[from + 2] << 16) | (samples[from + 1] << 8) | samples[from];
      }
    } else {
      const table = greyTable(described, this.look);
      const colours = Uint32Array.from(table, (level) => 0xff000000 | (level * 0x010101));
      for (let place = 0; place < pixels.length; place += 1) {
        pixels[place] = colours[samples[place] & 0xffff];
      }
    }
    this.bitmap ??= document.createElement("canvas");
    this.bitmap.width = columns;
    this.bitmap.height = rows;
    this.bitmap.getContext("2d").putImageData(image, 0, 0);
    this.draw();
  }

  /** Show another window. */
  setLook(look) {
    if (!this.look) return;
    this.look = { ...this.look, ...look };
    if (this.look.function === "LINEAR") this.look.width = Math.max(1, this.look.width);
    else this.look.width = Math.max(0.001, this.look.width);
    this.paint();
    this.dispatchEvent(new Event("change"));
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.draw();
  }

  /** The whole picture in the middle. */
  fit() {
    this.place.isFitted = true;
    this.draw();
  }

  fitted() {
    const { rows, columns, aspect } = this.picture.described;
    return Math.min(this.canvas.width / columns, this.canvas.height / (rows * aspect));
  }

  /** So many times larger, around a point of the canvas. */
  zoom(times, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.picture) return;
    const { place } = this;
    const scale = Math.min(64, Math.max(this.fitted() / 4, place.scale * times));
    place.x = x - ((x - place.x) * scale) / place.scale;
    place.y = y - ((y - place.y) * scale) / place.scale;
    place.scale = scale;
    place.isFitted = false;
    this.draw();
  }

  move(x, y) {
    this.place.x += x;
    this.place.y += y;
    this.place.isFitted = false;
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.picture) return;
    const { rows, columns, aspect } = this.picture.described;
    const { place } = this;
    if (place.isFitted) {
      place.scale = this.fitted();
      place.x = (this.canvas.width - columns * place.scale) / 2;
      place.y = (this.canvas.height - rows * aspect * place.scale) / 2;
    }
    context.imageSmoothingEnabled = place.scale < 2;
    context.imageSmoothingQuality = "high";
    context.setTransform(place.scale, 0, 0, place.scale * aspect, place.x, place.y);
    context.drawImage(this.bitmap, 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.drawMarks(context);
    this.say();
  }

  drawMarks(context) {
    context.lineWidth = Math.max(1.5, devicePixelRatio * 1.5);
    context.strokeStyle = "#7fd3da";
    if (this.rule.length) {
      const ends = this.rule.map((point) => this.onCanvas(point));
      context.beginPath();
      context.moveTo(...ends[0]);
      context.lineTo(...ends[ends.length - 1]);
      for (const [x, y] of ends) context.rect(x - 3, y - 3, 6, 6);
      context.stroke();
    }
    if (this.cross) {
      const [x, y] = this.onCanvas([this.cross[0] + 0.5, this.cross[1] + 0.5]);
      context.strokeStyle = "#edc773";
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * 6, y + dy * 6);
        context.lineTo(x + dx * 18, y + dy * 18);
      }
      context.stroke();
    }
  }

  onCanvas([column, row]) {
    const { place } = this;
    const { aspect } = this.picture.described;
    return [place.x + column * place.scale, place.y + row * place.scale * aspect];
  }

  /** Column and row, with fractions, under a point of the canvas. */
  under(x, y) {
    const { place } = this;
    const { aspect } = this.picture.described;
    return [(x - place.x) / place.scale, (y - place.y) / (place.scale * aspect)];
  }

  /** The value of a pixel in words; empty outside the picture. */
  valueAt(column, row) {
    const { samples, described } = this.picture;
    const { rows, columns, unit, slope, intercept } = described;
    if (column < 0 || row < 0 || column >= columns || row >= rows) return "";
    const place = row * columns + column;
    if (described.form === "rgb-u8") {
      return `column ${column}, row ${row}: ${samples.slice(place * 3, place * 3 + 3).join(" ")}`;
    }
    const value = NUMBER.format(samples[place] * slope + intercept);
    return `column ${column}, row ${row}: ${value}${unit ? ` ${unit}` : ""}`;
  }

  /** Whether a distance can be said. */
  get isMeasurable() {
    return Boolean(this.picture?.described.spacing_mm);
  }

  /** The length of the ruler in words. */
  length() {
    if (this.rule.length < 2 || !this.isMeasurable) return "";
    const [between, along] = this.picture.described.spacing_mm;
    const [[x0, y0], [x1, y1]] = this.rule;
    return `${NUMBER.format(Math.hypot((x1 - x0) * along, (y1 - y0) * between))} mm`;
  }

  say() {
    const { series, look, picture } = this;
    const lines = [];
    if (series.pictures > 1) lines.push(`Slice ${this.number + 1} of ${series.pictures}`);
    if (look) {
      lines.push(`Level ${NUMBER.format(look.centre)}, width ${NUMBER.format(look.width)}`);
      if (look.isInverted) lines.push("Inverted");
    }
    const percent = Math.round((this.place.scale / (devicePixelRatio || 1)) * 100);
    lines.push(`Zoom ${percent} %`);
    for (const note of [series.note, picture.described.note]) if (note) lines.push(note);
    this.text("corner", lines.join("\n"));
    this.text("ruled", this.length());
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("focus", () => this.dispatchEvent(new Event("focus")));
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", () => (this.held = null));
    canvas.addEventListener("pointercancel", () => (this.held = null));
    canvas.addEventListener("pointerleave", () => !this.cross && this.text("value", ""));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  at(event) {
    const ratio = devicePixelRatio || 1;
    return [event.offsetX * ratio, event.offsetY * ratio];
  }

  press(event) {
    this.canvas.focus();
    if (!this.picture) return;
    this.canvas.setPointerCapture(event.pointerId);
    const isPan = event.button !== 0 || event.shiftKey;
    this.held = { tool: isPan ? "pan" : this.tool, at: this.at(event), look: { ...this.look } };
    if (this.held.tool === "ruler") {
      const point = this.under(...this.held.at);
      this.rule = [point, point];
      this.draw();
    }
  }

  drag(event) {
    if (!this.picture) return;
    const [x, y] = this.at(event);
    if (!this.cross) {
      const [column, row] = this.under(x, y);
      this.text("value", this.valueAt(Math.floor(column), Math.floor(row)));
    }
    if (!this.held) return;
    const [fromX, fromY] = this.held.at;
    if (this.held.tool === "pan") {
      this.held.at = [x, y];
      this.move(x - fromX, y - fromY);
    } else if (this.held.tool === "ruler") {
      this.rule = [this.rule[0], this.under(x, y)];
      this.draw();
    } else if (this.look) {
      // One canvas of dragging is twice the width; down is darker, as on other consoles.
      const step = (2 * Math.max(this.held.look.width, 2)) / this.canvas.width;
      this.setLook({
        width: this.held.look.width + (x - fromX) * step,
        centre: this.held.look.centre + (y - fromY) * step,
      });
    }
  }

  wheel(event) {
    event.preventDefault();
    if (!this.picture || event.deltaY === 0) return;
    if (this.series.pictures > 1 && !event.ctrlKey) {
      this.turnTo(this.number + Math.sign(event.deltaY));
    } else {
      this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, ...this.at(event));
    }
  }

  /** Show the crosshair, or take it away. */
  toggleCross() {
    if (!this.picture) return;
    const { rows, columns } = this.picture.described;
    this.cross = this.cross ? null : [Math.floor(columns / 2), Math.floor(rows / 2)];
    this.sayCross();
  }

  moveCross(columns, rows) {
    const { described } = this.picture;
    this.cross = [
      Math.min(described.columns - 1, Math.max(0, this.cross[0] + columns)),
      Math.min(described.rows - 1, Math.max(0, this.cross[1] + rows)),
    ];
    this.sayCross();
  }

  sayCross() {
    this.text("value", this.cross ? this.valueAt(...this.cross) : "");
    this.draw();
  }

  /** Set the next end of the ruler at the crosshair. */
  setEnd() {
    if (!this.cross || !this.isMeasurable) return;
    const point = [this.cross[0] + 0.5, this.cross[1] + 0.5];
    this.rule = this.rule.length === 1 ? [this.rule[0], point] : [point];
    this.draw();
  }
}
