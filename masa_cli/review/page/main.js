// The page: puts its parts together, and what keys and buttons do.

import * as api from "./api.js";
import { ask, tell } from "./dialogs.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { Store, colour } from "./store.js";
import { Thumbs } from "./thumbs.js";
import { Timeline, clock } from "./timeline.js";

const $ = (id) => document.getElementById(id);
const MASK_CHUNK = 16; // frames whose masks are asked for at once
const FILL_SECONDS = 2;

class Review {
  constructor({ state, tracks, times, video }) {
    this.state = state;
    this.store = new Store(tracks);
    this.classes = state.classes;
    this.size = [state.width, state.height];
    this.places = state.places ?? [];
    this.looking = state.places === null; // for places, which takes a while for hours of video
    this.readonly = state.readonly;
    this.selection = []; // ids: what edits change, and the other one
    this.place = -1; // where N and P are in the list
    this.current = null; // the key of the place that is looked at
    this.seen = new Set(); // keys
    this.masks = new Map(); // by chunk of frames
    this.shown = {};
    this.passing = null; // ids that pass the filter; null: all
    this.busy = false;
    this.player = new Player($("video"), times, state.keys, (frame) => this.moved(frame));
    this.stage = new Stage($("overlay"), this);
    this.pictures = new Thumbs(video, this.player, this.size, (id) => this._pictured(id));
    this.timeline = new Timeline($("lanes"), $("timeline"), $("spacer"), this);
    $("title").textContent = document.title = state.title;
    document.body.classList.toggle("readonly", this.readonly);
    $("scrub").max = this.player.last;
    this.wire();
    this.listed();
    this.history(state);
    this.filter();
    $("video").addEventListener("error", () => this.complain("The video cannot be played here; tracks are shown without it."));
    if (!$("video").src) $("video").src = video; // it may be there since the tracks were read
    $("video").addEventListener("seeked", () => (document.body.dataset.ready = "yes"), { once: true });
    this.player.seek(this.player.indexAt($("video").currentTime));
    if (this.looking) this.look();
  }

  // What parts ask of the page.

  thumbs(track) {
    return this.pictures.of(track);
  }

  passes(track) {
    return !this.shown.filtered || this.passing.has(track.id);
  }

  masksOf(frame) {
    const chunk = Math.floor(frame / MASK_CHUNK);
    if (!this.masks.has(chunk)) {
      this.masks.set(chunk, null);
      api.masks(chunk * MASK_CHUNK, MASK_CHUNK).then((told) => {
        this.masks.set(chunk, told);
        if (this.masks.size > 64) this.masks.delete(this.masks.keys().next().value);
        this.stage.draw();
      }).catch((error) => this.complain(error.message));
    }
    const told = this.masks.get(chunk);
    return told && { size: told.size, masks: told.frames[frame] ?? {} };
  }

  select(id, adds = false) {
    if (id === null) this.selection = adds ? this.selection : [];
    else if (adds && this.selection.length && this.selection[0] !== id) this.selection = [this.selection[0], id];
    else this.selection = [id];
    this.refresh();
    if (id !== null) this.timeline.reveal(id);
  }

  moved(frame) {
    $("scrub").value = frame;
    $("clock").value = `${clock(this.player.times[frame], true)} · ${frame}`;
    if (!this.later) {
      this.later = requestAnimationFrame(() => {
        this.later = null;
        this.stage.draw();
        $("overlay").classList.toggle("ahead", this.player.nearby !== null); // of the picture
        this.timeline.draw();
        this.described();
        $("play").textContent = this.player.playing ? "❚❚" : "▶";
      });
    }
  }

  refresh() {
    this.moved(this.player.frame);
  }

  // Edits.

  async edit(record) {
    if (this.readonly) return;
    if (this.busy) throw new Error("the edit before is not done yet");
    this.busy = true;
    try {
      const told = await api.edit(record, this.state.revision);
      this.store.patch(told.changed);
      this.masks.clear();
      this.history(told);
      this.filter();
      this.selection = this.selection.filter((id) => this.store.tracks.has(id));
      this.refresh();
      this.look();
      this.say(record.edit === "undo" || record.edit === "redo" ? `${record.edit}: done` : `done: ${told.edits.at(-1)}`);
    } catch (error) {
      if (error.kind === "stale") location.reload();
      throw error;
    } finally {
      this.busy = false;
    }
  }

  /** Do an edit, and tell in the page's status what keeps it from being done. */
  attempt(record) {
    return this.edit(record).catch((error) => this.complain(error.message));
  }

  boxDone(draft) {
    const record = { edit: "box", id: draft.id, frame: this.player.frame, box: draft.box };
    if (draft.label) record.label = draft.label;
    record.fill = Math.round(FILL_SECONDS / this.player.usual);
    return this.attempt(record).then(() => this.select(draft.id));
  }

  history(told) {
    Object.assign(this.state, told);
    this.classes = told.classes;
    $("undo").disabled = !told.done;
    $("redo").disabled = !told.undone;
    const hidden = told.done - told.edits.length;
    const items = told.edits.map((text) => Object.assign(document.createElement("li"), { textContent: text }));
    if (hidden > 0) items.unshift(Object.assign(document.createElement("li"), { textContent: `… ${hidden} earlier edits` }));
    if (!items.length) items.push(Object.assign(document.createElement("li"), { textContent: "none yet" }));
    $("edits").replaceChildren(...items);
    $("tab-edits").textContent = `Edits (${told.done})`;
    const chosen = $("filter-class").value;
    $("filter-class").replaceChildren(new Option("all", ""), ...told.classes.map((name) => new Option(name, name)));
    $("filter-class").value = told.classes.includes(chosen) ? chosen : "";
    $("class-names").replaceChildren(...told.classes.map((name) => new Option(name, name)));
  }

  get first() {
    if (this.selection.length) return this.selection[0];
    this.complain("select an identity first: click its box or its lane, or press [ or ]");
    return null;
  }

  actions = {
    rename: (id) => ask(`Rename ${id}`, [{ name: "to", label: "new number", type: "number", value: this.state.free }],
      ({ to }) => this.edit({ edit: "rename", id, to }).then(() => this.select(to)), "Rename"),
    merge: (id) => ask(`Merge ${id} into another`, [
      { name: "into", label: "into", type: "number", value: this.selection[1] ?? "" },
      { name: "keep", label: "where both are seen, keep the boxes of the other", type: "checkbox", value: false },
    ], ({ into, keep }) => this.edit({ edit: "merge", id, into, ...(keep && { overlaps: "keep" }) }).then(() => this.select(into)), "Merge"),
    split: (id) => this.attempt({ edit: "split", id, frame: this.player.frame, new: this.state.free }),
    swap: (id) => {
      const swap = (other) => this.edit({ edit: "swap", id, other, frame: this.player.frame });
      if (this.selection.length > 1) return swap(this.selection[1]).catch((error) => this.complain(error.message));
      return ask(`Swap ${id} from frame ${this.player.frame} on`, [{ name: "other", label: "with", type: "number" }],
        ({ other }) => swap(other), "Swap");
    },
    delete: (id) => ask(`Delete ${id}`, [{
      name: "what", label: "which boxes", value: "all",
      options: [["all", "all"], ["on", "from this frame on"], ["before", "before this frame"], ["one", "in this frame"]],
    }], ({ what }) => {
      const frame = this.player.frame;
      const range = { all: {}, on: { first: frame }, before: { last: frame - 1 }, one: { first: frame, last: frame } }[what];
      if (range.last < 0) throw new Error("there is no frame before this one");
      return this.edit({ edit: "delete", id, ...range });
    }, "Delete"),
    class: (id) => ask(`Class of ${id}`, [{ name: "label", label: "class", list: "class-names",
      value: this.classes[this.store.tracks.get(id).label] ?? "" }],
    ({ label }) => this.edit({ edit: "class", id, label }), "Set"),
    box: (id) => this.moveBox(id),
    interpolate: (id) => ask(`Interpolate ${id}`, [
      { name: "first", label: "from the box in frame", type: "number", value: this.store.tracks.get(id).first },
      { name: "last", label: "to the box in frame", type: "number", value: this.player.frame },
    ], ({ first, last }) => this.edit({ edit: "interpolate", id, first, last }), "Interpolate"),
  };

  act(name) {
    if (this.readonly) return;
    const id = this.first;
    if (id !== null) this.actions[name](id);
  }

  /** Take the box of an identity in this frame, or where it was last, to be moved with keys. */
  moveBox(id) {
    const track = this.store.tracks.get(id), frame = this.player.frame;
    let row = track.row(frame);
    if (row < 0) {
      row = 0;
      while (row + 1 < track.frames.length && track.frames[row + 1] < frame) row += 1;
    }
    $("overlay").focus();
    this.stage.begin({ id, box: [...track.box(row)] });
    this.say("arrows move the box, with Shift its corner; Enter keeps it, Escape does not");
  }

  newBox() {
    if (this.readonly) return;
    const latest = this.selection.length ? this.classes[this.store.tracks.get(this.selection[0]).label] : this.classes[0];
    ask("Draw the box of a new identity", [
      { name: "id", label: "number", type: "number", value: this.state.free },
      { name: "label", label: "class", list: "class-names", value: latest ?? "object" },
    ], ({ id, label }) => {
      const [w, h] = this.size;
      this.stage.drawing = { id, label };
      this.stage.begin({ id, label, box: [w * 0.45, h * 0.4, w * 0.55, h * 0.6] });
      this.say("drag a box over the object, or move this one with the arrows and press Enter");
    }, "Draw").then(() => $("overlay").focus());
  }

  save() {
    if (this.readonly) return;
    const { formats, name } = this.state;
    ask(`Save into ${this.state.folder}`, [
      { name: "format", label: "format", value: formats[0][0], options: formats.map(([each, text]) => [each, `${each}: ${text}`]) },
      { name: "name", label: "name of the file", value: `${name}.${formats[0][2]}` },
      { name: "overwrite", label: "replace what is there", type: "checkbox", value: false },
    ], async (values) => {
      const told = await api.save(values);
      this.say(`saved: ${told.path}`);
    }, "Save");
    const form = document.querySelector("dialog form");
    form.elements.format.addEventListener("change", () => {
      const ending = formats.find(([each]) => each === form.elements.format.value)[2];
      form.elements.name.value = `${name}.${ending}`;
    });
  }

  // Lists and filters.

  /** Ask for the places, as they are after an edit, too; meanwhile those from before are listed. */
  async look() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.looking = true;
    this.listed();
    try {
      const found = await api.places();
      if (turn !== this.turn) return; // there was another edit
      const index = found.findIndex((place) => keyOf(place) === this.current);
      if (index >= 0) this.place = index;
      else if (this.current !== null) {
        this.place -= 1; // it is mended: the next one has moved up
        this.current = null;
      }
      this.places = found;
    } catch (error) {
      this.complain(error.message);
    }
    this.looking = false;
    this.listed();
    this.timeline.draw();
  }

  listed() {
    const items = this.places.map((place, index) => {
      const ids = this.idsOf(place), button = document.createElement("button");
      const when = Object.assign(document.createElement("span"), { className: "when", textContent: clock(this.player.times[place.frame], true) });
      const what = Object.assign(document.createElement("span"), { textContent: `${index + 1}. ${place.text} · ${ids.join(", ") || "gone"}` });
      button.append(when, what);
      button.className = this.seen.has(keyOf(place)) ? "seen" : "";
      button.setAttribute("aria-current", keyOf(place) === this.current);
      button.addEventListener("click", () => this.visit(index));
      const item = document.createElement("li");
      item.append(button);
      return item;
    });
    if (!items.length) items.push(Object.assign(document.createElement("li"), { textContent: this.looking ? "looking for them…" : "none found" }));
    $("places").replaceChildren(...items);
    $("tab-places").textContent = `Suspicious (${this.looking ? "…" : this.places.length})`;
  }

  /** Who has the boxes of a place now. */
  idsOf(place) {
    const ids = place.boxes.map(([frame, ...box]) => this.store.owner(frame, box)?.id).filter((id) => id !== undefined);
    return [...new Set(ids)];
  }

  visit(index) {
    if (!this.places[index]) return;
    const place = this.places[index];
    this.place = index;
    this.current = keyOf(place);
    this.seen.add(this.current);
    if (this.player.playing) this.player.video.pause();
    this.player.seek(place.frame);
    this.selection = this.idsOf(place).slice(0, 2);
    if (this.selection.length) this.timeline.reveal(this.selection[0]);
    for (const [each, item] of [...$("places").children].entries()) {
      const button = item.firstElementChild;
      button.setAttribute("aria-current", each === index);
      if (each === index) {
        button.className = "seen";
        button.scrollIntoView({ block: "nearest" });
      }
    }
    this.say(`${index + 1} of ${this.places.length}: ${place.text}`);
    this.refresh();
  }

  filter() {
    const id = $("filter-id").value.trim(), name = $("filter-class").value;
    const length = Number($("filter-length").value) || 0, score = Number($("filter-score").value) || 0;
    const passing = [];
    for (const track of this.store.tracks.values()) {
      if (id && !String(track.id).startsWith(id)) continue;
      if (name && this.classes[track.label] !== name) continue;
      if (track.frames.length < length || track.score < score) continue;
      passing.push(track);
    }
    const orders = {
      first: (one, other) => one.first - other.first || one.id - other.id,
      id: (one, other) => one.id - other.id,
      length: (one, other) => one.frames.length - other.frames.length || one.id - other.id,
      score: (one, other) => one.score - other.score || one.id - other.id,
    };
    passing.sort(orders[$("order").value]);
    this.passing = new Set(passing.map((track) => track.id));
    $("count").value = `${passing.length} of ${this.store.tracks.size}`;
    this.timeline.show(passing, this.player.times.length);
    this.refresh();
  }

  described() {
    const holder = $("selected"), [id, other] = this.selection;
    const track = this.store.tracks.get(id);
    const key = `${this.selection} ${this.state.revision} ${track?.row(this.player.frame)} ${this.player.playing}`;
    if (key === this._described || (this._described && holder.contains(document.activeElement) && this._owner === `${this.selection} ${this.state.revision}`)) return;
    this._described = key;
    this._owner = `${this.selection} ${this.state.revision}`;
    if (!track) {
      holder.textContent = this.readonly ? "Click a box or a lane to select an identity." :
        "Click a box or a lane to select an identity; with Shift a second one, to swap or merge.";
      return;
    }
    const make = (kind, facts, ...inside) => {
      const element = Object.assign(document.createElement(kind), facts);
      element.append(...inside);
      return element;
    };
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colour(id);
    const name = make("div", { className: "name" }, swatch, `${id} ${this.classes[track.label] ?? ""}${other ? ` · with ${other}` : ""}`);
    const soft = track.flags.reduce((sum, flag) => sum + (flag & 1), 0);
    const row = track.row(this.player.frame);
    const here = row < 0 ? "not in this frame" : track.flags[row] & 1 ? "interpolated here" : `score ${track.scores[row].toFixed(2)} here`;
    const facts = make("div", { className: "facts" }, `frames ${track.first}–${track.last}, ${track.frames.length} boxes (${soft} interpolated), mean score ${track.score.toFixed(2)}, ${here}`);
    const parts = [name, facts];
    const picture = this.pictures.of(track);
    if (picture) {
      const copy = make("canvas", { width: 64, height: 64 });
      copy.getContext("2d").drawImage(picture, 0, 0);
      parts.unshift(copy);
    }
    if (!this.readonly) {
      const texts = [["swap", "Swap…", "X"], ["split", "Split here", "S"], ["merge", "Merge…", "M"], ["rename", "Rename…", "R"],
        ["class", "Class…", "C"], ["box", "Move box", "B"], ["interpolate", "Interpolate…", "I"], ["delete", "Delete…", "Del"]];
      parts.push(make("div", { className: "buttons" }, ...texts.map(([action, text, keys]) => {
        const button = make("button", { textContent: text, title: `${text} (${keys})` });
        button.dataset.action = action;
        button.addEventListener("click", () => this.act(action));
        return button;
      })));
    }
    holder.replaceChildren(...parts);
  }

  _pictured(id) {
    this.timeline.draw();
    if (this.selection[0] === id) {
      this._described = null;
      this.described();
    }
  }

  say(text) {
    $("status").className = "";
    $("status").textContent = text;
  }

  complain(text) {
    $("status").className = "wrong";
    $("status").textContent = text;
  }

  // Keys and buttons.

  wire() {
    const on = (id, kind, act) => $(id).addEventListener(kind, act);
    on("play", "click", () => this.player.toggle());
    on("back", "click", () => this.player.step(-1));
    on("forward", "click", () => this.player.step(1));
    on("scrub", "input", () => this.player.seek($("scrub").valueAsNumber, true));
    on("speed", "change", () => ($("video").playbackRate = Number($("speed").value)));
    on("undo", "click", () => this.attempt({ edit: "undo" }));
    on("redo", "click", () => this.attempt({ edit: "redo" }));
    on("save", "click", () => this.save());
    on("help", "click", () => this.help());
    on("zoom-in", "click", () => this.timeline.zoom(0.5));
    on("zoom-out", "click", () => this.timeline.zoom(2));
    on("video", "play", () => this.refresh());
    for (const name of ["boxes", "labels", "masks", "trails", "filtered"]) {
      this.shown[name] = $(`show-${name}`).checked;
      on(`show-${name}`, "change", () => {
        this.shown[name] = $(`show-${name}`).checked;
        this.refresh();
      });
    }
    for (const id of ["filter-id", "filter-class", "filter-length", "filter-score", "order"]) on(id, "input", () => this.filter());
    for (const [tab, panel, other, hidden] of [["tab-places", "places", "tab-edits", "edits"], ["tab-edits", "edits", "tab-places", "places"]]) {
      on(tab, "click", () => {
        $(tab).setAttribute("aria-selected", "true");
        $(other).setAttribute("aria-selected", "false");
        $(panel).hidden = false;
        $(hidden).hidden = true;
      });
    }
    document.addEventListener("keydown", (event) => this.key(event));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh());
  }

  key(event) {
    const target = event.target, field = target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      const commands = { z: event.shiftKey ? "redo" : "undo", y: "redo" };
      const name = commands[event.key.toLowerCase()];
      if (name && !field) {
        event.preventDefault();
        this.attempt({ edit: name });
      } else if (event.key.toLowerCase() === "s") {
        event.preventDefault();
        this.save();
      }
      return;
    }
    if (event.altKey) return;
    if (field) {
      if (event.key === "Escape" || (event.key === "Enter" && target.type === "search")) this.leave(target);
      return;
    }
    if (this.stage.draft && this.drafting(event)) return;
    if (event.key === " " && target.matches("button, input")) return; // presses it
    const act = this.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    if (["ArrowUp", "ArrowDown", "PageUp", "PageDown"].includes(event.key) && target.matches("#places *, #edits")) return;
    event.preventDefault();
    act(event);
  }

  /** Out of a search: the first identity it found is selected. */
  leave(target) {
    target.blur();
    if (target.id === "filter-id" && this.timeline.tracks.length && target.value) {
      const track = this.timeline.tracks.find(({ id }) => String(id) === target.value.trim()) ?? this.timeline.tracks[0];
      this.select(track.id);
      if (track.row(this.player.frame) < 0) this.player.seek(track.first);
    }
    $("lanes").focus();
  }

  drafting(event) {
    const far = event.ctrlKey ? 1 : Math.max(1, Math.round(this.size[0] / 200));
    const ways = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    if (ways[event.key]) this.stage.nudge(...ways[event.key], event.shiftKey);
    else if (event.key === "Enter") this.stage.finish();
    else if (event.key === "Escape") this.stage.cancel();
    else return false;
    event.preventDefault();
    return true;
  }

  keys = {
    " ": () => this.player.toggle(),
    ArrowLeft: (event) => this.player.step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => this.player.step(event.shiftKey ? 10 : 1),
    ArrowUp: () => this.beside(-1),
    ArrowDown: () => this.beside(1),
    PageUp: () => this.beside(-10),
    PageDown: () => this.beside(10),
    Home: () => this.player.seek(this.selection.length ? this.store.tracks.get(this.selection[0]).first : 0),
    End: () => this.player.seek(this.selection.length ? this.store.tracks.get(this.selection[0]).last : this.player.last),
    n: () => this.visit(Math.min(this.places.length - 1, this.place + 1)),
    p: () => this.visit(Math.max(0, this.place - 1)),
    "[": (event) => this.around(-1, event),
    "]": (event) => this.around(1, event),
    "{": (event) => this.around(-1, event),
    "}": (event) => this.around(1, event),
    x: () => this.act("swap"),
    s: () => this.act("split"),
    m: () => this.act("merge"),
    r: () => this.act("rename"),
    c: () => this.act("class"),
    b: () => this.act("box"),
    i: () => this.act("interpolate"),
    d: () => this.newBox(),
    Delete: () => this.act("delete"),
    Backspace: () => this.act("delete"),
    u: () => this.attempt({ edit: "undo" }),
    "/": () => $("filter-id").focus(),
    "+": () => this.timeline.zoom(0.5),
    "=": () => this.timeline.zoom(0.5),
    "-": () => this.timeline.zoom(2),
    Escape: () => {
      this.stage.cancel();
      this.select(null);
    },
    "?": () => this.help(),
  };

  /** The next identity in this frame; with Shift it becomes the second one. */
  around(step, event) {
    const ids = this.store.at(this.player.frame).map(([track]) => track.id), adds = event.shiftKey || "{}".includes(event.key);
    if (!ids.length) return this.complain("nobody is in this frame");
    const from = adds ? this.selection[1] ?? this.selection[0] : this.selection[0];
    let index = ids.indexOf(from);
    index = index < 0 ? (step > 0 ? 0 : ids.length - 1) : (index + step + ids.length) % ids.length;
    if (adds && ids[index] === this.selection[0]) index = (index + step + ids.length) % ids.length;
    this.select(ids[index], adds);
  }

  beside(step) {
    const id = this.timeline.beside(this.selection[0], step);
    if (id !== null) this.select(id);
  }

  help() {
    const rows = [
      ["Space", "play or pause"], ["← →", "one frame back or on; with Shift ten"], ["N P", "next or previous suspicious place"],
      ["[ ]", "previous or next identity in this frame; with Shift as the second one"], ["↑ ↓", "identity above or below in the timeline"],
      ["Home End", "first or last frame of the selected identity, or of the video"], ["/", "search an identity by its number"],
      ["+ −", "zoom the timeline (with the mouse: Ctrl and wheel)"], ["?", "this list"],
    ];
    if (!this.readonly) {
      rows.push(["X", "swap the two selected from this frame on"], ["S", "split: from this frame on it is a new identity"],
        ["M", "merge into another"], ["R", "rename"], ["C", "change the class"], ["D", "draw a box of a new identity"],
        ["B", "move the box in this frame: arrows, with Shift its corner; Enter"], ["I", "interpolate between two frames"], ["Delete", "delete all or some of its boxes"],
        ["Ctrl+Z, U", "undo"], ["Ctrl+Y", "redo"], ["Ctrl+S", "save as any format"]);
    }
    const table = document.createElement("table");
    for (const [keys, text] of rows) {
      const row = table.insertRow(), cell = row.insertCell();
      for (const key of keys.split(" ")) cell.append(Object.assign(document.createElement("kbd"), { textContent: key }), " ");
      row.insertCell().textContent = text;
    }
    tell("Keys", table);
  }
}

/** What tells a place, also after an edit elsewhere. */
function keyOf({ frame, kind, boxes }) {
  return JSON.stringify([frame, kind, boxes[0]]);
}

// What the page is until its tracks are there: a video to look at, and how far they are.

const PARTS = ["editing", "controls", "show", "panel", "tracks"];

function waiting({ opening, video }) {
  $("opening").hidden = false;
  const bar = $("opening").querySelector("progress"), share = opening.share;
  const far = share === null ? "…" : ` (${Math.floor(100 * share)} %)`;
  $("opening").querySelector("span").textContent = `${opening.text}${far}`;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
  for (const part of PARTS) $(part).inert = true;
  $("overlay").hidden = true;
  if (video && !$("video").src) Object.assign($("video"), { src: "video", controls: true });
}

function opened() {
  $("opening").hidden = true;
  for (const part of PARTS) $(part).inert = false;
  $("overlay").hidden = $("video").controls = false;
}

api.open(waiting).then((told) => {
  opened();
  window.review = new Review(told); // for those who try things in the browser's console, and tests
}).catch((error) => {
  $("opening").hidden = true;
  $("message").hidden = false;
  $("message").textContent = error.message;
});
