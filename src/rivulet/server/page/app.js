// Binds microphone, stream, captions and measurements to the page.

import { Captions } from "./captions.js";
import { draw, Lateness, seconds } from "./lateness.js";
import { Microphone } from "./microphone.js";
import { Stream } from "./stream.js";
import { render, transcribe } from "./upload.js";

const SILENT_DB = -60;
const BEHIND_S = 2;
const THEMES = { system: "as the system", light: "light", dark: "dark" };

const $ = (id) => document.getElementById(id);
const captions = new Captions($("captions"), $("word"), $("announcer"));
const lateness = new Lateness();
const microphone = new Microphone(heard);
let stream; // while there is a microphone stream
let reading = false; // while a file is transcribed
let offset = 0; // seconds of what was heard before, so that times go on
let told = false; // whether the first sample's time is known
let behind = false; // whether sound waits to be sent

// —— events ——————————————————————————————————————————————————————————————

function take(event) {
  const now = performance.now();
  $("empty").hidden = true;
  if (event.type === "partial") {
    lateness.partial(event.text.split(" ").filter(Boolean), now);
    captions.partial(event);
  } else if (event.type === "final") {
    lateness.final(event.words, now);
    captions.final(moved(event));
    measure();
  } else if (event.type === "gap") {
    captions.gap(moved(event));
  }
  if (event.at !== undefined && lateness.origin !== undefined) {
    $("lag").textContent = seconds(Math.max(0, now - lateness.origin - 1000 * event.at));
  }
  for (const button of document.querySelectorAll(".downloads button, #clear")) button.disabled = !captions.events.length;
}

/** Times that go on after what is on the page already. */
function moved(event) {
  const move = (t) => Math.round((t + offset) * 1000) / 1000;
  const words = event.words?.map((w) => ({ ...w, start: move(w.start), end: move(w.end) }));
  const at = event.at === undefined ? {} : { at: move(event.at) };
  return { ...event, start: move(event.start), end: move(event.end), ...(words && { words }), ...at };
}

function measure() {
  $("median").textContent = seconds(lateness.quantile(0.5));
  $("p90").textContent = seconds(lateness.quantile(0.9));
  draw($("histogram"), lateness);
}

function say(text, state = "idle", why = "") {
  $("status").textContent = text;
  $("status").dataset.state = state;
  $("status").title = why;
}

// —— microphone ——————————————————————————————————————————————————————————

async function listen() {
  if (reading) return;
  pressed(true);
  say("Asking for the microphone …", "busy");
  try {
    const sampleRate = await microphone.start();
    if (sampleRate === undefined) return; // stopped before it began
    told = false;
    stream = new Stream(socketUrl(), start(sampleRate), { ready, event: take, state: say, end: ended });
  } catch (error) {
    pressed(false);
    say(error.message, "error");
  }
}

function start(sampleRate) {
  const words = hotWords();
  return {
    sample_rate: sampleRate,
    format: "int16",
    block_ms: Number($("block").value),
    ...(words.length && { hot_words: words }),
  };
}

function ready(message) {
  $("model").textContent = `Model: ${message.model}, at least ${message.latency_ms} ms late by its design`;
}

function heard({ samples, rms, peak }) {
  if (!stream) return;
  if (!told) {
    told = true;
    lateness.begin(performance.now() - (1000 * samples.length) / stream.start.sample_rate);
  }
  stream.push(samples);
  level(rms, peak);
  if (!stream.open) return;
  const late = stream.waiting > BEHIND_S;
  if (late) say(`The server is ${stream.waiting.toFixed(0)} s behind`, "error");
  else if (behind) say("Listening", "live");
  behind = late;
}

async function stop() {
  const stopping = stream;
  if (stopping) say("Last words …", "busy");
  else stopped();
  await microphone.stop();
  level(0, 0);
  stopping?.finish();
}

function stopped(sentence) {
  pressed(false);
  say(sentence ?? "Stopped", sentence ? "error" : "idle");
}

async function ended(sentence) {
  const finished = stream;
  stream = undefined;
  await microphone.stop();
  level(0, 0);
  lateness.end();
  $("lag").textContent = "–";
  if (finished) offset += finished.sent / finished.start.sample_rate;
  stopped(sentence);
}

function pressed(on) {
  $("microphone").setAttribute("aria-pressed", on);
  $("microphone").querySelector("span").textContent = on ? "Stop listening" : "Start listening";
}

function level(rms, peak) {
  const db = Math.max(SILENT_DB, 20 * Math.log10(rms || 1e-9));
  const meter = $("level");
  meter.style.setProperty("--level", `${(100 * (db - SILENT_DB)) / -SILENT_DB}%`);
  meter.toggleAttribute("data-clipping", peak >= 0.99);
  meter.setAttribute("aria-valuenow", db.toFixed(0));
  const text = db <= SILENT_DB ? "silent" : `${db.toFixed(0)} dB`;
  meter.setAttribute("aria-valuetext", peak >= 0.99 ? "too loud" : text);
  $("level-text").textContent = peak >= 0.99 ? "too loud" : db <= SILENT_DB ? "–" : text;
}

// —— files ———————————————————————————————————————————————————————————————

async function read(file) {
  if (!file || stream || reading) return;
  reading = true;
  $("microphone").disabled = true;
  say(`Reading ${file.name} …`, "busy");
  try {
    const warnings = [];
    let length = 0;
    for await (const event of transcribe(file, hotWords(), headers())) {
      if (event.type === "end") length = event.seconds;
      else if (event.type === "warning") warnings.push(event.message);
      else take(event);
    }
    offset += length;
    say([`${file.name}: ${length.toFixed(1)} s transcribed`, ...warnings].join(". "), warnings.length ? "error" : "idle");
  } catch (error) {
    say(error.message, "error");
  } finally {
    reading = false;
    $("microphone").disabled = false;
  }
}

async function save(format) {
  if (!captions.events.length) return;
  try {
    const jsonl = () => captions.events.map((event) => `${JSON.stringify(event)}\n`).join("");
    const text = format === "jsonl" ? jsonl() : await render(captions.finals, format, headers());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = `captions.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    say(error.message, "error");
  }
}

function clear() {
  captions.clear();
  lateness.clear();
  offset = 0;
  measure();
  $("empty").hidden = Boolean(stream);
  for (const button of document.querySelectorAll(".downloads button, #clear")) button.disabled = true;
}

// —— options —————————————————————————————————————————————————————————————

function hotWords() {
  return $("hot-words").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

function headers() {
  const token = $("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function socketUrl() {
  const url = new URL("/v1/stream", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if ($("token").value) url.searchParams.set("token", $("token").value);
  return url.href;
}

async function greet() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  $("token").value = fragment.get("token") ?? sessionStorage.getItem("token") ?? "";
  if (fragment.has("token")) history.replaceState(null, "", location.pathname);
  try {
    const health = await (await fetch("/health")).json();
    $("token-field").hidden = !health.token;
    if (health.token && !$("token").value) {
      document.querySelector("details").open = true;
      say("This server wants a token: see Options");
    }
    $("model").textContent = `Model: ${health.model}`;
  } catch {
    say("The server cannot be reached.", "error");
  }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").setAttribute("aria-label", `Theme: ${THEMES[name]}`);
  $("theme").title = `Theme: ${THEMES[name]}`;
  localStorage.setItem("theme", name);
}

const themed = () => (localStorage.getItem("theme") in THEMES ? localStorage.getItem("theme") : "system");

async function big(on) {
  document.body.classList.toggle("big", on);
  $("big").setAttribute("aria-pressed", on);
  captions.following = true;
  captions.follow();
  try {
    if (on) await document.documentElement.requestFullscreen?.();
    else if (document.fullscreenElement) await document.exitFullscreen();
  } catch {
    // a browser that does not want full screen still shows big captions
  }
}

// —— what people do ——————————————————————————————————————————————————————

const toggle = () => ($("microphone").getAttribute("aria-pressed") === "true" ? stop() : listen());
const isBig = () => document.body.classList.contains("big");

$("microphone").addEventListener("click", toggle);
$("file").addEventListener("change", ({ target }) => {
  read(target.files[0]);
  target.value = "";
});
$("clear").addEventListener("click", clear);
$("big").addEventListener("click", () => big(!isBig()));
$("help").addEventListener("click", () => $("shortcuts").showModal());
$("token").addEventListener("change", ({ target }) => sessionStorage.setItem("token", target.value));
$("token-field").addEventListener("submit", (event) => event.preventDefault());
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(themed()) + 1) % names.length]);
});
for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => save(button.dataset.format));
}
window.addEventListener("resize", () => captions.follow());
document.addEventListener("fullscreenchange", () => document.fullscreenElement || !isBig() || big(false));

const KEYS = {
  " ": toggle,
  o: () => $("file").click(),
  b: () => big(!isBig()),
  s: () => save("txt"),
  "?": () => $("shortcuts").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && isBig()) big(false);
  const typing = event.target.closest("input, textarea, select, dialog, summary, button");
  const closed = event.target.closest("dialog:not([open])"); // it has the focus until the page is drawn anew
  if ((typing && !closed) || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").hidden = false;
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  read(event.dataTransfer.files[0]);
});

theme(themed());
measure();
greet();
