// COCO's compressed run lengths as pictures.

const cache = new Map(); // of the newest
const MOST = 256;

/** {canvas, x, y} of a mask in the colour of an id; null if it is empty. */
export function maskImage(counts, [height, width], id) {
  const key = `${id} ${counts}`;
  const known = cache.get(key);
  if (known) return known;
  const image = painted(runs(counts), height, width, id);
  cache.set(key, image);
  if (cache.size > MOST) cache.delete(cache.keys().next().value);
  return image;
}

/** Lengths of the runs, of pixels that are not and that are of the object in turn. */
export function runs(text) {
  const found = [];
  let position = 0;
  while (position < text.length) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const code = text.charCodeAt(position) - 48;
      value |= (code & 31) << shift;
      more = (code & 32) !== 0;
      shift += 5;
      position += 1;
      if (!more && code & 16) value |= -1 << shift;
    }
    if (found.length > 2) value += found[found.length - 2];
    found.push(value);
  }
  return found;
}

function painted(lengths, height, width, id) {
  let at = 0, left = width, right = -1, top = height, bottom = -1;
  const strips = [];
  lengths.forEach((length, index) => {
    for (let rest = length; index % 2 && rest > 0; ) {
      const x = Math.floor((at + length - rest) / height), y = (at + length - rest) % height;
      const count = Math.min(rest, height - y);
      strips.push([x, y, count]);
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + count - 1)];
      rest -= count;
    }
    at += length;
  });
  if (right < 0) return null;
  const canvas = new OffscreenCanvas(right - left + 1, bottom - top + 1);
  const context = canvas.getContext("2d");
  context.fillStyle = `hsl(${(id * 137.508) % 360} 85% 58% / 0.4)`;
  for (const [x, y, count] of strips) context.fillRect(x - left, y - top, 1, count);
  return { canvas, x: left, y: top };
}
