"use strict";
// Annotations and recognized words enter the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
const data = JSON.parse($("data").textContent);
const recordings = all(".recording");
const player = $("player");
const rowsOf = recordings.map((section) => all("tbody tr", section.querySelector(".utterances") || section)
  .filter((row) => row.dataset.row !== undefined));
let chosen = null; // {recording, row, bar}
let url = null;

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// Audio and faces are in the page as base64, or in files next to it; they are decoded when needed.
function source(name, type) {
  if (name === null) return null;
  const inline = $("m-" + name);
  if (!inline) return data.beside + "/" + name;
  const bytes = Uint8Array.from(atob(inline.textContent), (character) => character.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type }));
}

function face(name) {
  const inline = $("m-" + name);
  const image = make("img");
  image.alt = "face of the speaker";
  image.src = inline ? "data:image/jpeg;base64," + inline.textContent : data.beside + "/" + name;
  return image;
}

// Choosing an utterance.

function choose(recording, number, bar, play) {
  const section = recordings[recording];
  const row = data.recordings[recording].rows[number];
  all(".chosen").forEach((element) => element.classList.remove("chosen"));
  bar = bar || section.querySelector(`.b[data-row="${number}"]`);
  if (bar) {
    all(".b[tabindex='0']", section).forEach((other) => (other.tabIndex = -1));
    bar.tabIndex = 0;
    all(`.b[data-row="${number}"]`, section).forEach((same) => same.classList.add("chosen"));
    show(section.querySelector(".timeline"), bar);
  }
  const line = section.querySelector(`tr[data-row="${number}"]`);
  if (line) line.classList.add("chosen");
  chosen = { recording, number };
  $("d-title").textContent = `${row.time} ${row.status}`;
  describe(recording, row);
  if (data.recordings[recording].seek) data.recordings[recording].seek(row.start);
  $("detail").hidden = false;
  document.body.classList.add("open");
  hear(row, play);
}

function show(timeline, bar) {
  const room = timeline.clientWidth - bar.parentElement.offsetLeft;
  const left = bar.offsetLeft, right = left + bar.offsetWidth;
  if (left < timeline.scrollLeft || right > timeline.scrollLeft + room) {
    timeline.scrollLeft = Math.max(0, left - room / 3);
  }
}

function hear(row, play) {
  player.pause();
  if (url && url.startsWith("blob:")) URL.revokeObjectURL(url);
  url = source(row.sound, "audio/ogg");
  player.hidden = url === null;
  $("d-silent").hidden = url !== null;
  if (url === null) { player.removeAttribute("src"); return; }
  player.src = url;
  if (play) player.play().catch(() => {}); // a browser may forbid it; the controls are there
}

function bars(entries, truth) {
  const grid = make("div", undefined, "bars");
  for (const [name, value] of entries) {
    grid.append(make("span", name, name === truth ? "is-truth" : ""));
    const track = make("span", undefined, "track"), fill = make("i", undefined, "fillbar");
    fill.style.width = value === null ? "0" : 100 * value + "%";
    track.append(fill);
    grid.append(track, make("span", value === null ? "missing" : Math.round(100 * value) + " %", "num"));
  }
  return grid;
}

// One block per modality, with up to three bars; a modality that is not trusted is marked.
function reasons(modalities) {
  const grid = make("div", undefined, "reasons");
  for (const each of modalities) {
    const block = make("div", undefined, "reason" + (each.distrust ? " distrusted" : ""));
    block.dataset.modality = each.name;
    block.append(make("b", each.name + (each.weight === null ? ": missing" : each.distrust ? ": not trusted" : "")));
    if (each.weight !== null) {
      const lines = [];
      if (each.probability !== null) lines.push([each.indicates, each.probability]);
      if (each.reliability !== null) lines.push(["reliable", each.reliability]);
      lines.push(["share", each.weight]);
      block.append(bars(lines));
    }
    grid.append(block);
  }
  return grid;
}

function describe(recording, row) {
  const { systems, labels } = data.recordings[recording];
  const body = $("d-body");
  body.replaceChildren();
  if (row.truth) {
    const part = make("div", undefined, "said");
    part.append(make("h4", "annotation"));
    part.append(make("p", `${row.truth.who}: ${row.truth.emotion}`));
    if (row.truth.text) { const p = make("p", `“${row.truth.text}”`); p.dir = "auto"; part.append(p); }
    if (row.truth.valence !== null) part.append(make("p", `valence ${row.truth.valence}`, "num"));
    if (row.truth.arousal !== null) part.append(make("p", `arousal ${row.truth.arousal}`, "num"));
    body.append(part);
  }
  row.answers.forEach((answer, index) => {
    const part = make("div", undefined, "said");
    part.append(make("h4", systems[index]));
    body.append(part);
    if (!answer) { part.append(make("p", "no utterance here")); return; }
    if (answer.face !== null) part.append(face(answer.face));
    part.append(make("p", `${answer.who}: ${answer.emotion}`));
    if (answer.text) { const p = make("p", `“${answer.text}”`); p.dir = "auto"; part.append(p); }
    part.append(bars(labels[index].map((label, place) => [label, answer.probabilities[place]]), row.truth && row.truth.emotion));
    for (const line of answer.facts) part.append(make("p", line, "note"));
    const why = make("div", undefined, "said");
    why.append(make("h4", row.answers.length > 1 ? `why, ${systems[index]}` : "why"));
    for (const line of answer.sentences) why.append(make("p", line, "why-line"));
    why.append(reasons(answer.why));
    why.append(make("p", "what each modality indicates separately, how reliable it is, and its share of what changed the result", "note"));
    body.append(why);
  });
}

function step(direction) {
  if (!chosen) return;
  const rows = rowsOf[chosen.recording].filter((row) => row.classList.contains("fits"));
  const place = rows.findIndex((row) => Number(row.dataset.row) === chosen.number);
  const next = rows[place < 0 ? 0 : place + direction];
  if (next) choose(chosen.recording, Number(next.dataset.row), null, true);
}

function close() {
  player.pause();
  $("detail").hidden = true;
  document.body.classList.remove("open");
}

$("d-close").addEventListener("click", close);
all("[data-step]").forEach((button) => button.addEventListener("click", () => step(Number(button.dataset.step))));

// Keys in the timeline: one stop for Tab, then arrows.

function neighbour(bar, key) {
  const track = bar.parentElement;
  if (key === "ArrowLeft" || key === "ArrowRight") {
    let next = bar;
    do next = key === "ArrowLeft" ? next.previousElementSibling : next.nextElementSibling;
    while (next && next.classList.contains("dim"));
    return next;
  }
  const tracks = all(".lane:not(.robot) .track", track.closest(".strip"));
  const beside = tracks[tracks.indexOf(track) + (key === "ArrowUp" ? -1 : 1)];
  if (!beside) return null;
  return all(".b:not(.dim)", beside).reduce((best, other) => {
    const distance = Math.abs(other.offsetLeft - bar.offsetLeft);
    return best && best[1] <= distance ? best : [other, distance];
  }, null)?.[0];
}

recordings.forEach((section, recording) => {
  const timeline = section.querySelector(".timeline"), content = data.recordings[recording];
  if (!timeline) return;
  section.addEventListener("click", (event) => {
    const target = event.target.closest(".b, .play");
    if (target) choose(recording, Number(target.dataset.row), target.classList.contains("b") ? target : null, true);
  });
  timeline.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow") || !event.target.classList.contains("b")) return;
    event.preventDefault();
    const next = neighbour(event.target, event.key);
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
    show(timeline, next);
  });
  const first = timeline.querySelector(".b");
  if (first) first.tabIndex = 0;

  // Scale (pixels to a second) and axis.
  const strip = timeline.querySelector(".strip"), axis = timeline.querySelector(".axis .track");
  const length = content.seconds;
  let scale = 0;
  function zoom(wanted) {
    const room = Math.max(100, timeline.clientWidth - axis.offsetLeft);
    const middle = scale ? (timeline.scrollLeft + room / 2) / scale : 0;
    scale = Math.min(200, Math.max(room / length, wanted));
    strip.style.width = axis.offsetLeft + scale * length + "px";
    const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200];
    const second = steps.find((s) => s * scale >= 60) || 14400;
    const ticks = [];
    for (let time = 0; time <= length - 20 / scale; time += second) {
      const tick = make("span", clock(time));
      tick.style.left = 100 * time / length + "%";
      ticks.push(tick);
    }
    axis.replaceChildren(...ticks);
    timeline.scrollLeft = middle * scale - room / 2;
  }
  all("[data-zoom]", section).forEach((button) => button.addEventListener("click", () =>
    zoom({ in: scale * 1.6, out: scale / 1.6, fit: 0 }[button.dataset.zoom])));
  content.zoom = () => zoom(length <= 180 ? 0 : content.scale); // short ones as a whole

  // An annotation and the estimate that is compared with it.
  function partners(event) {
    const bar = event.target.closest(".b");
    all(".b.partner", timeline).forEach((other) => other.classList.remove("partner"));
    if (bar) all(`.b[data-row="${bar.dataset.row}"]`, timeline).forEach((other) =>
      other !== bar && other.classList.add("partner"));
  }
  timeline.addEventListener("mouseover", partners);
  timeline.addEventListener("focusin", partners);

  // Audio and video of the whole recording, with a cursor in the timeline.
  const audio = section.querySelector(".player audio"), video = section.querySelector(".player video");
  if (audio) {
    const cursor = make("div", undefined, "cursor");
    strip.append(cursor);
    const follow = () => {
      const track = axis.getBoundingClientRect(), whole = strip.getBoundingClientRect();
      cursor.style.left = track.left - whole.left + track.width * audio.currentTime / length + "px";
      if (!video) return;
      if (Math.abs(video.currentTime - audio.currentTime) > 0.2) video.currentTime = audio.currentTime;
      if (audio.paused !== video.paused) audio.paused ? video.pause() : video.play().catch(() => {});
    };
    for (const name of ["timeupdate", "seeked", "play", "pause"]) audio.addEventListener(name, follow);
    audio.addEventListener("play", () => player.pause());
    timeline.addEventListener("click", (event) => {
      const track = event.target.closest(".track");
      if (!track || event.target.closest(".b")) return;
      const place = track.getBoundingClientRect();
      audio.currentTime = length * (event.clientX - place.left) / place.width;
    });
    content.seek = (time) => { if (audio.paused) audio.currentTime = time; else audio.pause(); };
  }

  // The filter. The table shows a page of what fits, so that a long one stays quick.
  const form = section.querySelector("[data-filter]"), output = form.querySelector("output");
  const more = section.querySelector(".more");
  const rows = rowsOf[recording];
  const words = rows.map((row) => row.textContent.toLowerCase());
  const bars = rows.map(() => []);
  all(".b", timeline).forEach((bar) => bars[bar.dataset.row].push(bar));
  let pages = 1;
  function filter() {
    const { words: find, emotion, who, status } = form.elements;
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, place) => {
      const { emotions, who: names, status: result } = content.rows[row.dataset.row];
      const fits = (!wanted || words[place].includes(wanted)) &&
        (!emotion.value || emotions.includes(emotion.value)) &&
        (!who.value || names.includes(who.value)) &&
        (!status.value || result === status.value);
      row.classList.toggle("fits", fits);
      row.hidden = !fits || count >= pages * data.page;
      count += fits;
      bars[row.dataset.row].forEach((bar) => bar.classList.toggle("dim", !fits));
    });
    output.textContent = `${count} of ${rows.length}`;
    more.hidden = count <= pages * data.page;
    more.textContent = `show more (${count - pages * data.page})`;
  }
  more.addEventListener("click", () => { pages += 1; filter(); });
  const restart = () => { pages = 1; filter(); };
  form.addEventListener("input", restart);
  form.addEventListener("reset", () => setTimeout(restart));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
});

function clock(seconds) {
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${two(seconds % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });

const chooser = $("recording");
function present() {
  recordings.forEach((section, number) => (section.hidden = chooser !== null && Number(chooser.value) !== number));
  const shown = data.recordings[chooser === null ? 0 : Number(chooser.value)];
  if (shown && shown.zoom) shown.zoom();
  close();
}
if (chooser) chooser.addEventListener("change", present);
present();
document.documentElement.dataset.ready = "yes";
