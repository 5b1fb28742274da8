// One live stream over /v1/stream. A lost connection is resumed where it broke; where the server has
// no room, or began anew, the page waits and goes on with the sound it kept.

const KEPT_S = 30; // seconds of sound kept for a connection that breaks: as long as the server waits
const WAITS_MS = [200, 400, 800, 1600, 3000];
const BUSY_MS = [1000, 2000, 4000];
const TRIES = 10; // without an answer; then the server is away
const FINISH_MS = 15000;
const OVERLAP_S = 2; // seconds of sound heard twice where a stream begins anew between words
const [POLICY, TRY_LATER] = [1008, 1013];
const LOST = new Set([1001, 1005, 1006, 1011, 1012, 1014]); // closes after which it is worth to come back

export class Stream {
  /** handlers: ready(message), event(message), state(text, kind), end(sentence or undefined) */
  constructor(url, start, handlers) {
    this.url = url;
    this.start = start;
    this.handlers = handlers;
    this.kept = []; // {at, samples}: at is the number of samples before it
    this.sent = 0; // samples given to us
    this.base = 0; // samples before the server's stream began
    this.settled = 0; // samples up to the end of the last finished segment
    this.unsure = false; // whether a segment is open
    this.lostAt = 0; // samples given to us when the connection was lost
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
    if (!this.greeted) {
      this.close(); // the server had no room yet: there are no results
      return;
    }
    if (this.open) this.socket.send(JSON.stringify({ type: "finish" }));
    this.giveUp = setTimeout(() => this.close("The last results did not come in time."), FINISH_MS);
  }

  /** Seconds of sound that wait to be sent. */
  get waiting() {
    return this.socket.bufferedAmount / 2 / this.start.sample_rate;
  }

  connect() {
    this.open = false;
    this.sentence = undefined;
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
    else if (message.type === "end") this.ended(message);
    else this.event(this.moved(message));
  }

  event(event) {
    if (event.type === "final") this.settled = Math.round(event.end * this.start.sample_rate);
    this.unsure = event.type === "partial" ? event.text !== "" : this.unsure && event.type !== "final";
    this.handlers.event(event);
  }

  /** Times from the first sample of the page's stream, whichever of the server's streams they are of. */
  moved(event) {
    const moved = { ...event };
    for (const name of ["start", "end", "at"]) if (name in event) moved[name] = this.later(event[name]);
    if (event.words) moved.words = event.words.map((w) => ({ ...w, start: this.later(w.start), end: this.later(w.end) }));
    return moved;
  }

  later(time) {
    return Math.round((time + this.base / this.start.sample_rate) * 1000) / 1000;
  }

  ready(message) {
    const first = !this.greeted;
    this.greeted = true;
    this.key = message.stream;
    this.tries = 0;
    this.open = true;
    if (first) this.handlers.ready(message);
    this.resend(this.base + message.samples);
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

  /** The server's stream has ended: because we asked, or because the server goes down. */
  ended(message) {
    if (this.finishing) this.close();
    else this.anew(this.base + message.samples);
  }

  /** Let the next connection begin another of the server's streams, at the sample `from`. */
  anew(from) {
    const oldest = this.kept[0]?.at ?? this.sent;
    this.key = undefined;
    this.seq = 0;
    this.base = Math.max(from, oldest);
    if (oldest > from) {
      const [start, end] = [from, oldest].map((samples) => samples / this.start.sample_rate);
      this.handlers.event({ type: "gap", start, end, samples: oldest - from, reason: "the server was away" });
    }
  }

  closed({ code, reason }) {
    if (this.over) return;
    if (this.open) this.lostAt = this.sent;
    this.open = false;
    const said = this.sentence ?? reason;
    const forgotten = this.key && code === POLICY && /not known/.test(said);
    if (forgotten) this.anew(this.unsure ? this.settled : Math.max(this.settled, this.lostAt - OVERLAP_S * this.start.sample_rate));
    if (code === TRY_LATER) {
      this.again("The server is busy. Trying again …", BUSY_MS, said);
    } else if (!forgotten && (!this.greeted || this.sentence || !LOST.has(code))) {
      this.close(said || "The server cannot be reached. It may be off, or want a token.");
    } else if (this.tries >= TRIES) {
      this.close("The server cannot be reached any more.");
    } else {
      this.again("Connection lost. Trying again …", WAITS_MS);
    }
  }

  again(sentence, waits, why) {
    this.handlers.state(sentence, "busy", why);
    const wait = waits[Math.min(this.tries, waits.length - 1)];
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
