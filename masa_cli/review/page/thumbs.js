// Small pictures of identities, cut out of the video by a second, unseen player while the first rests.

const SIDE = 64; // pixels
const MOST = 400; // that are kept

export class Thumbs {
  /** `ready(id)` is called when a picture has been made. */
  constructor(source, player, size, ready) {
    Object.assign(this, { player, size, ready });
    this.made = new Map();
    this.queue = [];
    this.busy = null;
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.preload = "auto";
    this.video.src = source;
    this.video.addEventListener("seeked", () => this._cut());
    this.video.addEventListener("loadeddata", () => this._next());
  }

  /** The picture of a track as it is now; null where there is none yet, which is then made. */
  of(track) {
    const known = this.made.get(track.id);
    if (known?.track === track) return known.picture;
    if (!this.queue.includes(track)) {
      this.queue.push(track);
      if (this.queue.length > 60) this.queue.shift(); // no longer in sight
      this._next();
    }
    return known?.picture ?? null;
  }

  _next() {
    if (this.busy || this.video.readyState < 2) return;
    if (this.player.playing || this.player.pending) {
      setTimeout(() => this._next(), 250);
      return;
    }
    this.busy = this.queue.pop() ?? null; // the newest is in sight
    if (!this.busy) return;
    this.row = best(this.busy);
    const { times, usual } = this.player;
    const wanted = times[this.busy.frames[this.row]] + usual * 0.4;
    if (Math.abs(this.video.currentTime - wanted) < usual * 0.2) this._cut();
    else this.video.currentTime = wanted;
  }

  _cut() {
    const track = this.busy;
    if (!track) return;
    const [x1, y1, x2, y2] = track.box(this.row), [w, h] = this.size;
    const side = Math.max(x2 - x1, y2 - y1), left = (x1 + x2 - side) / 2, top = (y1 + y2 - side) / 2;
    const picture = document.createElement("canvas");
    picture.width = picture.height = SIDE;
    const across = this.video.videoWidth / w, down = this.video.videoHeight / h;
    picture.getContext("2d").drawImage(this.video, left * across, top * down, side * across, side * down, 0, 0, SIDE, SIDE);
    this.made.delete(track.id);
    this.made.set(track.id, { track, picture });
    if (this.made.size > MOST) this.made.delete(this.made.keys().next().value);
    this.busy = null;
    this.ready(track.id);
    this._next();
  }
}

/** Its best view: of detected boxes a large one that was scored well. */
function best(track) {
  let row = 0, most = -1;
  const step = Math.max(1, Math.floor(track.frames.length / 200));
  for (let each = 0; each < track.frames.length; each += step) {
    const [x1, y1, x2, y2] = track.box(each);
    const worth = track.flags[each] & 1 ? 0 : track.scores[each] * Math.sqrt((x2 - x1) * (y2 - y1));
    if (worth > most) [row, most] = [each, worth];
  }
  return row;
}
