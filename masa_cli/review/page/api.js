// What the page is told and what it asks for: from masa's server, or from the page itself when it
// was written as one file.

const INSIDE = document.getElementById("masa-inside");

export const isStatic = INSIDE !== null;
export const patience = { seconds: 60 }; // until an edit or a file that is not confirmed is given up

/**
 * The state (JSON), tracks (ArrayBuffer), times (Float64Array) and where the video is. While tracks
 * are still read, `waiting({opening: {text, share}, video})` is called again and again.
 */
export async function open(waiting) {
  if (isStatic) return openInside();
  let state = await told("api/state");
  while (state.opening) {
    waiting(state);
    state = await told("api/state"); // which the server answers after a while, or once they are
  }
  const late = setTimeout(() => waiting({ opening: { text: "fetching tracks", share: null }, video: true }), 300);
  const [tracks, times] = await Promise.all([
    ask("api/tracks").then((answer) => answer.arrayBuffer()),
    ask("api/times").then((answer) => answer.arrayBuffer()),
  ]).finally(() => clearTimeout(late));
  return { state, tracks, times: new Float64Array(times), video: "video" };
}

/** The suspicious places, once they are known. */
export async function places() {
  for (;;) {
    const { places: found } = await told("api/places"); // which the server answers after a while
    if (found !== null) return found;
  }
}

/** Masks of some frames: {size, frames: {frame: {id: run lengths}}}. */
export async function masks(first, count) {
  if (isStatic) return insideMasks(); // all of them
  return (await ask(`api/masks?first=${first}&count=${count}`)).json();
}

/** Do an edit; the answer has the identities that changed and the history. */
export function edit(record, revision) {
  return post("api/edit", { record, revision });
}

/** Write the tracks as they are now; the answer has the file. */
export function save(request) {
  return post("api/save", request);
}

async function told(path) {
  return (await ask(path)).json();
}

async function post(path, body) {
  const answer = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(1000 * patience.seconds),
  });
  return answer.json();
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "TimeoutError") throw new Error("masa review is not done yet: reload the page to see whether it is.");
    throw new Error("masa review does not answer any more: start it again. Edits are kept.");
  }
  if (answer.ok) return answer;
  let told = null;
  try {
    told = await answer.json();
  } catch {
    // An answer of the server itself, not of masa.
  }
  const error = new Error(told ? `${told.problem}. ${told.fix}` : `${answer.status} ${answer.statusText}`);
  error.kind = told?.kind ?? "";
  throw error;
}

let inside = null; // what is in the page, if it is one file
let allMasks = null;

function insideMasks() {
  allMasks ??= inflated(inside.masks).then((data) => JSON.parse(new TextDecoder().decode(data)));
  return allMasks;
}

async function openInside() {
  inside = JSON.parse(INSIDE.textContent);
  const tracks = await inflated(inside.tracks);
  const times = new Float64Array(await inflated(inside.times));
  let video = inside.video;
  const data = document.getElementById("masa-video");
  if (data) {
    const bytes = Uint8Array.from(atob(data.textContent), (each) => each.charCodeAt(0));
    video = URL.createObjectURL(new Blob([bytes], { type: inside.type }));
  }
  return { state: inside.state, tracks, times, video };
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
