// Which frame is shown: frames of the tracks, by their times, on the video of the browser.

const SETTLES = 150; // milliseconds without another wish, after which it is the picture itself that is shown

/**
 * Plays and seeks; calls `changed(frame)` whenever another frame is shown or wanted. `keys` are times
 * of pictures that are shown quickly, where others take long.
 */
export class Player {
  constructor(video, times, keys, changed) {
    this.video = video;
    this.times = times;
    this.keys = keys;
    this.rough = false; // a picture from nearby will do
    this.nearby = null; // the key whose picture is shown instead of that of the frame
    this.changed = changed;
    this.frame = 0;
    this.pending = false;
    this.wanted = null;
    this.usual = times.length > 1 ? (times[times.length - 1] - times[0]) / (times.length - 1) : 1 / 30;
    video.addEventListener("seeked", () => this._seeked());
    video.addEventListener("loadeddata", () => this.seek(this.frame));
    video.addEventListener("pause", () => !this.video.ended && this.seek(this.frame));
    video.addEventListener("ended", () => {
      this.frame = this.indexAt(video.currentTime); // the last picture may go untold
      this.changed(this.frame);
    });
    if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
      const shown = (_, facts) => {
        if (!video.paused && !video.seeking) this._show(this.indexAt(facts.mediaTime));
        video.requestVideoFrameCallback(shown);
      };
      video.requestVideoFrameCallback(shown);
    } else {
      video.addEventListener("timeupdate", () => !video.paused && this._show(this.indexAt(video.currentTime)));
    }
  }

  get playing() {
    return !this.video.paused && !this.video.ended;
  }

  get last() {
    return this.times.length - 1;
  }

  toggle() {
    if (this.playing) return this.video.pause();
    if (this.frame >= this.last) this.seek(0);
    return this.video.play().catch(() => {});
  }

  /**
   * Show a frame; while the video still seeks, only the newest wish counts. Where `rough`, as while
   * a slider is dragged, a picture from nearby is shown until there is time for the one that is meant.
   */
  seek(frame, rough = false) {
    clearTimeout(this.settling);
    this.rough = rough && this.keys.length > 0;
    if (this.rough) this.settling = setTimeout(() => this.seek(this.frame), SETTLES);
    const target = Math.max(0, Math.min(this.last, Math.round(frame)));
    this.wanted = target;
    this._show(target);
    if (!this.pending) this._start();
  }

  step(frames) {
    if (this.playing) this.video.pause();
    this.seek(this.frame + frames);
  }

  /** The frame that is shown at a time of the video. */
  indexAt(seconds) {
    const times = this.times, wanted = seconds + this.usual * 0.1;
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= wanted) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  _start() {
    const frame = this.wanted;
    this.wanted = null;
    if (this.video.readyState === 0) return;
    const next = frame < this.last ? this.times[frame + 1] - this.times[frame] : this.usual;
    // Into the middle of the frame (but of one after which there is a gap, its beginning): whichever
    // way a browser rounds, it is this frame that it shows.
    let target = Math.max(0, this.times[frame] + Math.min(next, 2 * this.usual) * 0.4);
    const key = this.rough ? this._keyOf(target) : null;
    // Within the same stretch again, the picture itself comes after all.
    const isNearby = key !== null && key !== this.stretch && target - key > next;
    this.stretch = this._keyOf(target);
    this.nearby = isNearby ? key : null;
    if (isNearby) target = key + 0.4 * this.usual;
    this.pending = true;
    this.video.currentTime = target;
  }

  /** The last key up to a time. */
  _keyOf(seconds) {
    let low = 0, high = this.keys.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.keys[middle] <= seconds) low = middle;
      else high = middle - 1;
    }
    return this.keys[low] ?? null;
  }

  _seeked() {
    this.pending = false;
    this.changed(this.frame); // whose picture it is, or is not
    if (this.wanted !== null) this._start();
  }

  _show(frame) {
    if (frame === this.frame && this._told) return;
    this._told = true;
    this.frame = frame;
    this.changed(frame);
  }
}
