// One lane per identity, only those in sight are drawn, so thousands scroll as a few do.

import { colour } from "./store.js";

const LANE = 22, HEAD = 20, NAME = 132; // pixels
const THUMB = 18;

export class Timeline {
  /** `host` has store, player, classes, selection, places, select(id), thumbs. */
  constructor(holder, canvas, spacer, host) {
    Object.assign(this, { holder, canvas, spacer, host });
    this.tracks = []; // in the order they are shown
    this.from = 0;
    this.frames = 1; // in sight
    this.waiting = false;
    holder.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(holder);
    holder.addEventListener("pointerdown", (event) => this._down(event));
    holder.addEventListener("pointermove", (event) => this._scrubbing && this._scrub(event));
    holder.addEventListener("pointerup", () => (this._scrubbing = false));
    holder.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
  }

  show(tracks, numFrames) {
    this.tracks = tracks;
    if (this.numFrames !== numFrames) {
      this.numFrames = numFrames;
      [this.from, this.frames] = [0, numFrames];
    }
    this.spacer.style.height = `${HEAD + tracks.length * LANE}px`;
    this.draw();
  }

  zoom(factor) {
    const middle = this.host.player.frame;
    const share = (middle - this.from) / this.frames;
    this.frames = Math.max(20, Math.min(this.numFrames, this.frames * factor));
    this.from = this._inside(middle - this.frames * (share >= 0 && share <= 1 ? share : 0.5));
    this.draw();
  }

  /** Bring a lane into sight. */
  reveal(id) {
    const index = this.tracks.findIndex((track) => track.id === id);
    if (index < 0) return;
    const top = index * LANE, height = this.holder.clientHeight - HEAD;
    if (top < this.holder.scrollTop) this.holder.scrollTop = top;
    else if (top + LANE > this.holder.scrollTop + height) this.holder.scrollTop = top + LANE - height;
  }

  /** The identity some lanes below (or above) another one. */
  beside(id, step) {
    const index = this.tracks.findIndex((track) => track.id === id);
    const next = index < 0 ? (step > 0 ? 0 : this.tracks.length - 1) : index + step;
    return this.tracks[Math.max(0, Math.min(this.tracks.length - 1, next))]?.id ?? null;
  }

  /** Draw once before the next picture of the screen. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this._draw();
    });
  }

  _inside(from) {
    return Math.max(0, Math.min(this.numFrames - this.frames, from));
  }

  get _scale() {
    return Math.max(1, this.holder.clientWidth - NAME) / this.frames;
  }

  _draw() {
    const { holder, canvas, host } = this, ratio = window.devicePixelRatio || 1;
    const width = holder.clientWidth, height = holder.clientHeight;
    if (!width || !height) return;
    const frame = host.player.frame;
    if (host.player.playing && (frame < this.from || frame > this.from + this.frames)) this.from = this._inside(frame);
    canvas.style.height = `${height}px`;
    this.spacer.style.marginTop = `${-height}px`;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const inks = Object.fromEntries(["back", "front", "soft", "line", "lane", "mark", "warn", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    context.fillStyle = inks.back;
    context.fillRect(0, 0, width, height);
    const first = Math.floor(holder.scrollTop / LANE);
    const last = Math.min(this.tracks.length - 1, Math.ceil((holder.scrollTop + height) / LANE));
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let index = first; index <= last; index += 1) {
      this._lane(context, this.tracks[index], HEAD + index * LANE - holder.scrollTop, width, inks);
    }
    this._head(context, width, height, inks);
  }

  _lane(context, track, top, width, inks) {
    const { host } = this, selected = host.selection.includes(track.id), scale = this._scale;
    context.fillStyle = selected ? inks.mark : inks.lane;
    context.fillRect(0, top + 1, width, LANE - 2);
    const x = (frame) => NAME + (frame - this.from) * scale;
    context.save();
    context.beginPath();
    context.rect(NAME, top, width - NAME, LANE);
    context.clip();
    const strong = colour(track.id);
    for (const [start, stop, soft] of track.spans) {
      const left = x(start), right = Math.max(left + 1.5, x(stop + 1));
      if (right < NAME || left > width) continue;
      context.fillStyle = strong;
      // Interpolated parts are thin: an outline without a body.
      if (soft) context.fillRect(left, top + LANE / 2 - 1.5, right - left, 3);
      else context.fillRect(left, top + 4, right - left, LANE - 8);
    }
    context.restore();
    const thumb = host.thumbs(track);
    if (thumb) context.drawImage(thumb, 3, top + 2, THUMB, THUMB);
    context.fillStyle = inks.front;
    context.fillText(String(track.id), 26, top + LANE / 2);
    context.fillStyle = inks.soft;
    const name = host.classes[track.label] ?? "";
    context.save();
    context.beginPath();
    context.rect(0, top, NAME - 4, LANE);
    context.clip();
    context.fillText(name, 34 + context.measureText(String(track.id)).width, top + LANE / 2);
    context.restore();
  }

  _head(context, width, height, inks) {
    const { host } = this, scale = this._scale, x = (frame) => NAME + (frame - this.from) * scale;
    context.fillStyle = inks.back;
    context.fillRect(0, 0, width, HEAD);
    context.fillStyle = inks.soft;
    const seconds = host.player.times, wish = (90 / scale) * host.player.usual;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600].find((each) => each >= wish) ?? 7200;
    const begin = seconds[Math.floor(this.from)] ?? 0;
    const end = seconds[Math.min(this.numFrames - 1, Math.ceil(this.from + this.frames))] ?? 0;
    for (let time = Math.ceil(begin / step) * step; time <= end; time += step) {
      const left = x(host.player.indexAt(time));
      if (left < NAME) continue;
      context.fillRect(left, HEAD - 5, 1, 5);
      context.fillText(clock(time, step < 1), left + 3, HEAD / 2);
    }
    context.fillStyle = inks.warn;
    for (const place of host.places) {
      const left = x(place.frame);
      if (left >= NAME && left <= width) context.fillRect(left - 1, 0, 2, 6);
    }
    const now = x(host.player.frame) + Math.min(scale, 2) / 2;
    if (now >= NAME) {
      context.fillStyle = inks.accent;
      context.fillRect(now - 0.75, 0, 1.5, height);
    }
    context.fillStyle = inks.line;
    context.fillRect(0, HEAD - 1, width, 1);
  }

  _place(event) {
    const rect = this.holder.getBoundingClientRect();
    return [event.clientX - rect.left, event.clientY - rect.top];
  }

  _down(event) {
    const [x, y] = this._place(event);
    if (event.button !== 0 || x >= this.holder.clientWidth) return;
    if (y > HEAD) {
      const track = this.tracks[Math.floor((y - HEAD + this.holder.scrollTop) / LANE)];
      if (track) this.host.select(track.id, event.shiftKey);
      if (x < NAME && track) this.host.player.seek(track.first);
    }
    if (x >= NAME) {
      this._scrubbing = true;
      this.holder.setPointerCapture(event.pointerId);
      this._scrub(event);
    }
  }

  _scrub(event) {
    const [x] = this._place(event);
    this.host.player.seek(Math.floor(this.from + Math.max(0, x - NAME) / this._scale), true);
  }

  _wheel(event) {
    if (event.ctrlKey) {
      event.preventDefault();
      const under = this.from + Math.max(0, this._place(event)[0] - NAME) / this._scale;
      const share = (under - this.from) / this.frames;
      this.frames = Math.max(20, Math.min(this.numFrames, this.frames * (event.deltaY > 0 ? 1.25 : 0.8)));
      this.from = this._inside(under - this.frames * share);
      this.draw();
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      this.from = this._inside(this.from + (event.deltaX || event.deltaY) / this._scale);
      this.draw();
    }
  }
}

/** Seconds as 1:02:03, or with tenths. */
export function clock(seconds, tenths = false) {
  const whole = Math.floor(seconds + 1e-6), hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60, rest = String(whole % 60).padStart(2, "0");
  const text = hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  return tenths ? `${text}.${Math.floor((seconds + 1e-6 - whole) * 10)}` : text;
}
