// Boxes, labels, masks and trails over the video, and boxes drawn and dragged by hand.

import { colour, INTERPOLATED, MASKED } from "./store.js";
import { maskImage } from "./masks.js";

const HANDLE = 7; // pixels around a border that take hold of it
const TRAIL_SECONDS = 2;
const MIN_SIDE = 2; // source pixels

export class Stage {
  /** `host` has store, player, classes, size, shown, selection, masksOf, passes and what happens: select, boxDone. */
  constructor(canvas, host) {
    this.canvas = canvas;
    this.host = host;
    this.draft = null; // {id, box, label}: a box that is being drawn
    this.drawing = false; // the next drag draws a new box
    this.hold = null;
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    canvas.addEventListener("pointerup", (event) => this._up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** From source pixels to those of the canvas. */
  get view() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const [w, h] = this.host.size;
    const scale = Math.min(width / w, height / h) || 1;
    return { scale, left: (width - w * scale) / 2, top: (height - h * scale) / 2, width, height };
  }

  draw() {
    const { canvas, host } = this, ratio = window.devicePixelRatio || 1, view = this.view;
    const [w, h] = [Math.round(view.width * ratio), Math.round(view.height * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, w, h);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.left, ratio * view.top);
    const frame = host.player.frame;
    const rows = host.store.at(frame).filter(([track]) => host.passes(track));
    if (host.shown.masks) this._masks(context, frame, rows);
    if (host.shown.trails) for (const [track, row] of rows) this._trail(context, track, row, view.scale);
    context.font = `${13 / view.scale}px system-ui, sans-serif`;
    for (const [track, row] of rows) {
      if (this.draft && this.draft.id === track.id) continue;
      this._box(context, track, row, view.scale);
    }
    if (this.draft) this._draft(context, view.scale);
  }

  /** Begin a new box, drawn with the pointer or, from the middle, with keys. */
  begin(draft) {
    this.draft = draft;
    this.draw();
  }

  /** Move or resize the draft: pixels at its corner and at the opposite one. */
  nudge(dx, dy, resize) {
    if (!this.draft) return;
    const box = this.draft.box;
    if (resize) box.splice(2, 2, Math.max(box[0] + MIN_SIDE, box[2] + dx), Math.max(box[1] + MIN_SIDE, box[3] + dy));
    else this.draft.box = [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
    this.draw();
  }

  cancel() {
    this.draft = null;
    this.hold = null;
    this.drawing = false;
    this.draw();
  }

  finish() {
    const draft = this.draft;
    this.cancel();
    if (draft && draft.box[2] - draft.box[0] >= MIN_SIDE && draft.box[3] - draft.box[1] >= MIN_SIDE) {
      this.host.boxDone(draft);
    }
  }

  _box(context, track, row, scale) {
    const { host } = this, [x1, y1, x2, y2] = track.box(row), soft = track.flags[row] & INTERPOLATED;
    const selected = host.selection.indexOf(track.id);
    if (host.shown.boxes) {
      context.lineWidth = (selected >= 0 ? 4 : 2) / scale;
      context.setLineDash(soft ? [6 / scale, 4 / scale] : []);
      context.strokeStyle = colour(track.id);
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
      context.setLineDash([]);
      if (selected >= 0) {
        context.lineWidth = 1.5 / scale;
        context.strokeStyle = "#fff";
        context.strokeRect(x1 - 3 / scale, y1 - 3 / scale, x2 - x1 + 6 / scale, y2 - y1 + 6 / scale);
      }
    }
    if (host.shown.labels) {
      const score = selected >= 0 ? ` ${track.scores[row].toFixed(2)}` : "";
      const text = `${track.id} ${host.classes[track.labels[row]] ?? ""}${score}`;
      const high = 16 / scale, wide = context.measureText(text).width + 6 / scale;
      const top = y1 - high < 0 ? y1 : y1 - high;
      context.fillStyle = colour(track.id, 32);
      context.fillRect(x1, top, wide, high);
      context.fillStyle = "#fff";
      context.fillText(text, x1 + 3 / scale, top + 12.5 / scale);
    }
  }

  _trail(context, track, row, scale) {
    const { player } = this.host, since = player.times[player.frame] - TRAIL_SECONDS;
    context.beginPath();
    for (let each = row; each >= 0 && player.times[track.frames[each]] >= since; each -= 1) {
      const [x1, , x2, y2] = track.box(each);
      if (each === row) context.moveTo((x1 + x2) / 2, y2);
      else context.lineTo((x1 + x2) / 2, y2);
    }
    context.lineWidth = 2 / scale;
    context.strokeStyle = colour(track.id);
    context.globalAlpha = 0.75;
    context.stroke();
    context.globalAlpha = 1;
  }

  _masks(context, frame, rows) {
    if (!rows.some(([track, row]) => track.flags[row] & MASKED)) return;
    const told = this.host.masksOf(frame);
    if (!told) return;
    for (const [track, row] of rows) {
      const counts = track.flags[row] & MASKED ? told.masks[track.id] : null;
      const image = counts && maskImage(counts, told.size, track.id);
      if (image) context.drawImage(image.canvas, image.x, image.y);
    }
  }

  _draft(context, scale) {
    const [x1, y1, x2, y2] = this.draft.box;
    context.lineWidth = 2 / scale;
    context.strokeStyle = "#fff";
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.setLineDash([4 / scale, 4 / scale]);
    context.strokeStyle = "#000";
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.setLineDash([]);
    context.fillStyle = "#fff";
    const side = 6 / scale;
    for (const x of [x1, x2]) for (const y of [y1, y2]) context.fillRect(x - side / 2, y - side / 2, side, side);
  }

  _point(event) {
    const rect = this.canvas.getBoundingClientRect(), view = this.view;
    return [(event.clientX - rect.left - view.left) / view.scale, (event.clientY - rect.top - view.top) / view.scale];
  }

  /** Which borders of a box a point holds: [left, top, right, bottom], all for its inside, or null. */
  _grip(box, [x, y]) {
    const reach = HANDLE / this.view.scale, [x1, y1, x2, y2] = box;
    if (x < x1 - reach || x > x2 + reach || y < y1 - reach || y > y2 + reach) return null;
    const near = [Math.abs(x - x1) < reach, Math.abs(y - y1) < reach, Math.abs(x - x2) < reach, Math.abs(y - y2) < reach];
    if (near[0] && near[2]) near[0] = false;
    if (near[1] && near[3]) near[1] = false;
    return near.some(Boolean) ? near : [true, true, true, true];
  }

  _down(event) {
    if (event.button !== 0) return;
    const point = this._point(event), { host } = this;
    this.canvas.focus({ preventScroll: true });
    if (this.drawing && !host.readonly) {
      const draft = { ...this.drawing, box: [...point, ...point] };
      this.draft = draft;
      this.hold = { from: point, box: draft.box, grip: [false, false, true, true] };
      this.canvas.setPointerCapture(event.pointerId);
      return;
    }
    const frame = host.player.frame;
    if (!host.readonly && host.selection.length && !event.shiftKey && !host.player.playing) {
      const track = host.store.tracks.get(host.selection[0]);
      const row = track ? track.row(frame) : -1;
      const grip = row >= 0 && this._grip(track.box(row), point);
      if (grip) {
        const box = [...track.box(row)];
        this.hold = { from: point, box, grip, id: track.id };
        this.canvas.setPointerCapture(event.pointerId);
        return;
      }
    }
    this._pick(point, event.shiftKey);
  }

  _pick([x, y], adds) {
    const inside = this.host.store.at(this.host.player.frame).filter(([track, row]) => {
      const [x1, y1, x2, y2] = track.box(row);
      return this.host.passes(track) && x >= x1 && x <= x2 && y >= y1 && y <= y2;
    });
    // The smallest, as it may lie wholly inside another.
    const area = ([track, row]) => (([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1))(track.box(row));
    inside.sort((one, other) => area(one) - area(other));
    this.host.select(inside.length ? inside[0][0].id : null, adds);
  }

  _move(event) {
    if (!this.hold) return this._hover(event);
    const point = this._point(event), { from, box, grip, id } = this.hold;
    const [dx, dy] = [point[0] - from[0], point[1] - from[1]];
    if (!this.draft && Math.hypot(dx, dy) * this.view.scale < 3) return; // a click, not a drag
    if (!this.draft) this.draft = { id, box };
    const moved = box.map((value, side) => value + (grip[side] ? (side % 2 ? dy : dx) : 0));
    this.draft.box = [Math.min(moved[0], moved[2]), Math.min(moved[1], moved[3]),
      Math.max(moved[0], moved[2]), Math.max(moved[1], moved[3])];
    this.draw();
  }

  _hover(event) {
    let cursor = this.drawing ? "crosshair" : "default";
    const { host } = this, track = host.selection.length && host.store.tracks.get(host.selection[0]);
    const row = track ? track.row(host.player.frame) : -1;
    const grip = !this.drawing && !host.readonly && row >= 0 && this._grip(track.box(row), this._point(event));
    if (grip) cursor = grip.every(Boolean) ? "move" : grip[0] || grip[2] ? (grip[1] || grip[3] ? (grip[0] === grip[1] ? "nwse-resize" : "nesw-resize") : "ew-resize") : "ns-resize";
    this.canvas.style.cursor = cursor;
  }

  _up(event) {
    const hold = this.hold;
    this.hold = null;
    if (!hold) return;
    if (this.draft) this.finish();
    else this._pick(this._point(event), event.shiftKey);
  }
}
