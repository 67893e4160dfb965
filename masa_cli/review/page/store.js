// All tracks in typed arrays, found by frame through buckets of frames.

const BUCKET = 64; // frames
export const INTERPOLATED = 1;
export const MASKED = 2;

/** One identity: its boxes by frame. */
export class Track {
  constructor(id, label, frames, boxes, scores, labels, flags) {
    Object.assign(this, { id, label, frames, boxes, scores, labels, flags });
    this.first = frames[0];
    this.last = frames[frames.length - 1];
    let sum = 0;
    for (const score of scores) sum += score;
    this.score = sum / scores.length;
    this._spans = null;
  }

  /** Its row in a frame, -1 where it has none. */
  row(frame) {
    if (frame < this.first || frame > this.last) return -1;
    const guess = frame - this.first;
    if (this.frames[guess] === frame) return guess;
    let low = 0, high = Math.min(guess, this.frames.length - 1);
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.frames[middle] < frame) low = middle + 1;
      else if (this.frames[middle] > frame) high = middle - 1;
      else return middle;
    }
    return -1;
  }

  box(row) {
    return this.boxes.subarray(4 * row, 4 * row + 4);
  }

  /** [first, last, interpolated] of its stretches without a gap. */
  get spans() {
    if (this._spans) return this._spans;
    const spans = [];
    let current = null;
    for (let row = 0; row < this.frames.length; row += 1) {
      const frame = this.frames[row], soft = this.flags[row] & INTERPOLATED;
      if (current && current[1] === frame - 1 && current[2] === soft) current[1] = frame;
      else spans.push((current = [frame, frame, soft]));
    }
    return (this._spans = spans);
  }
}

/** The tracks of a video. */
export class Store {
  constructor(buffer) {
    this.tracks = new Map();
    this.buckets = [];
    const head = new DataView(buffer).getUint32(0, true);
    const { ids, labels, counts } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, head)));
    const total = counts.reduce((sum, count) => sum + count, 0);
    let offset = 4 + head;
    const column = (Kind, length) => {
      const found = new Kind(buffer, offset, length);
      offset += length * Kind.BYTES_PER_ELEMENT;
      return found;
    };
    const frames = column(Int32Array, total), boxes = column(Float32Array, 4 * total);
    const scores = column(Float32Array, total), classes = column(Uint16Array, total);
    const flags = column(Uint8Array, total);
    let start = 0;
    ids.forEach((id, index) => {
      const stop = start + counts[index];
      this.put(new Track(id, labels[index], frames.subarray(start, stop), boxes.subarray(4 * start, 4 * stop),
        scores.subarray(start, stop), classes.subarray(start, stop), flags.subarray(start, stop)));
      start = stop;
    });
  }

  put(track) {
    this.remove(track.id);
    this.tracks.set(track.id, track);
    for (let bucket = Math.floor(track.first / BUCKET); bucket <= Math.floor(track.last / BUCKET); bucket += 1) {
      (this.buckets[bucket] ??= new Set()).add(track);
    }
  }

  remove(id) {
    const track = this.tracks.get(id);
    if (!track) return;
    this.tracks.delete(id);
    for (let bucket = Math.floor(track.first / BUCKET); bucket <= Math.floor(track.last / BUCKET); bucket += 1) {
      this.buckets[bucket]?.delete(track);
    }
  }

  /** Take what an edit changed: {id: track as JSON, or null where it is no more}. */
  patch(changed) {
    for (const [id, told] of Object.entries(changed)) {
      if (told === null) this.remove(Number(id));
      else {
        this.put(new Track(Number(id), told.label, Int32Array.from(told.frames), Float32Array.from(told.boxes),
          Float32Array.from(told.scores), Uint16Array.from(told.labels), Uint8Array.from(told.flags)));
      }
    }
  }

  /** [track, row] of all that are in a frame, by id. */
  at(frame) {
    const found = [];
    for (const track of this.buckets[Math.floor(frame / BUCKET)] ?? []) {
      const row = track.row(frame);
      if (row >= 0) found.push([track, row]);
    }
    return found.sort((one, other) => one[0].id - other[0].id);
  }

  /** Who has (nearly) that box in a frame now; null if nobody. */
  owner(frame, box) {
    let best = null, most = 0.7;
    for (const [track, row] of this.at(frame)) {
      const share = iou(track.box(row), box);
      if (share > most) [best, most] = [track, share];
    }
    return best;
  }
}

export function iou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}

/** A colour of its own for each id. */
export function colour(id, lightness = 58) {
  return `hsl(${(id * 137.508) % 360} 85% ${lightness}%)`;
}
