// One live stream over /v1/stream; a lost connection is resumed where it broke.

const KEPT_S = 30; // seconds of sound kept for a connection that breaks: as long as the server waits
const WAITS_MS = [200, 400, 800, 1600, 3000];
const FINISH_MS = 15000;
const RESUMABLE = new Set([1005, 1006, 1011, 1012, 1014]); // closes without a sentence of the server

export class Stream {
  /** handlers: ready(message), event(message), state(text, kind), end(sentence or undefined) */
  constructor(url, start, handlers) {
    this.url = url;
    this.start = start;
    this.handlers = handlers;
    this.kept = []; // {at, samples}: at is the number of samples before it
    this.sent = 0; // samples given to us
    this.seq = 0;
    this.tries = 0;
    this.over = false;
    this.connect();
  }

  push(samples) {
    if (this.over) return;
    const piece = { at: this.sent, samples };
    this.kept.push(piece);
    this.sent += samples.length;
    const first = this.sent - KEPT_S * this.start.sample_rate;
    while (this.kept.length && this.kept[0].at + this.kept[0].samples.length < first) this.kept.shift();
    if (this.open) this.socket.send(samples);
  }

  /** Ask for the last results; `end` is called when they came. */
  finish() {
    this.finishing = true;
    if (this.open) this.socket.send(JSON.stringify({ type: "finish" }));
    this.giveUp = setTimeout(() => this.close("The last results did not come in time."), FINISH_MS);
  }

  /** Seconds of sound that wait to be sent. */
  get waiting() {
    return this.socket.bufferedAmount / 2 / this.start.sample_rate;
  }

  connect() {
    this.open = false;
    this.socket = new WebSocket(this.url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      const hello = this.key ? { type: "start", resume: this.key, after: this.seq } : { type: "start", ...this.start };
      this.socket.send(JSON.stringify(hello));
    };
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    this.socket.onclose = (event) => this.closed(event);
  }

  receive(message) {
    if (message.seq) this.seq = message.seq;
    if (message.type === "ready") this.ready(message);
    else if (message.type === "error") this.sentence = message.message;
    else if (message.type === "end") this.close();
    else this.handlers.event(message);
  }

  ready(message) {
    const resumed = Boolean(this.key);
    this.key = message.stream;
    this.tries = 0;
    this.open = true;
    if (!resumed) this.handlers.ready(message);
    this.resend(message.samples);
    this.handlers.state("Listening", "live");
    if (this.finishing) this.socket.send(JSON.stringify({ type: "finish" }));
  }

  /** Send again what the server did not hear; what we no longer have is a gap. */
  resend(from) {
    const oldest = this.kept[0]?.at ?? this.sent;
    if (oldest > from) this.socket.send(JSON.stringify({ type: "gap", samples: oldest - from }));
    for (const { at, samples } of this.kept) {
      if (at + samples.length <= from) continue;
      this.socket.send(at < from ? samples.subarray(from - at) : samples);
    }
  }

  closed({ code, reason }) {
    if (this.over) return;
    const lost = this.key && !this.sentence && RESUMABLE.has(code);
    if (!lost || this.tries >= WAITS_MS.length * 2) {
      const unreachable = "The server cannot be reached. It may be off, or want a token.";
      this.close(this.sentence ?? (reason || unreachable));
      return;
    }
    this.open = false;
    this.handlers.state("Connection lost, trying again …", "busy");
    const wait = WAITS_MS[Math.min(this.tries, WAITS_MS.length - 1)];
    this.tries += 1;
    setTimeout(() => this.over || this.connect(), wait);
  }

  close(sentence) {
    if (this.over) return;
    this.over = true;
    this.open = false;
    clearTimeout(this.giveUp);
    this.socket.close(1000);
    this.handlers.end(sentence);
  }
}
