// Events → words on the page: settled ones plain, open ones dim.

const UNSURE = 0.5; // confidence below which a word is marked
const NEAR_PX = 80; // so close to the end, the captions follow what is said

export class Captions {
  constructor(box, facts, announcer) {
    this.box = box;
    this.facts = facts;
    this.announcer = announcer;
    this.clear();
    box.addEventListener("pointerover", ({ target }) => this.tell(target.closest?.(".settled")));
    box.addEventListener("pointerleave", () => this.tell());
    box.addEventListener("blur", () => this.tell());
    box.addEventListener("scroll", () => this.scrolled());
    box.addEventListener("keydown", (event) => this.step(event));
  }

  clear() {
    this.events = []; // all but partials
    this.open = undefined; // the open segment's element
    this.following = true;
    this.box.replaceChildren();
    this.announcer.replaceChildren();
    this.tell();
  }

  get finals() {
    return this.events.filter((event) => event.type === "final");
  }

  partial(event) {
    const tokens = event.tokens ?? event.text.split(" ").filter(Boolean).map((text) => ({ text }));
    const settled = event.tokens ? event.stable_tokens : event.stable;
    if (!tokens.length) {
      // what was shown turned out to be no speech
      this.open?.remove();
      this.open = undefined;
      return;
    }
    const line = this.line();
    line.replaceChildren(...spaced(tokens.map(({ text }, i) => word(text, i < settled ? "settled" : "open"))));
    this.follow();
  }

  final(event) {
    this.events.push(event);
    const tokens = event.tokens ?? event.words.map(({ text }, i) => ({ text, first: i, last: i + 1 }));
    const line = this.line();
    line.replaceChildren(...spaced(tokens.map((token) => factual(token, event.words))));
    const time = this.open.querySelector("time");
    time.textContent = clock(event.start);
    time.dateTime = `PT${event.start}S`;
    this.open = undefined;
    this.announce(event.display ?? event.text);
    this.follow();
  }

  gap(event) {
    this.events.push(event);
    const note = document.createElement("p");
    note.className = "gap";
    note.textContent = `${(event.end - event.start).toFixed(1)} s were lost: ${event.reason}`;
    this.box.insertBefore(note, this.open ?? null);
  }

  line() {
    if (!this.open) {
      this.open = document.createElement("div");
      this.open.className = "segment";
      this.open.append(document.createElement("time"), document.createElement("p"));
      this.box.append(this.open);
    }
    return this.open.lastElementChild;
  }

  /** Read finished segments to screen readers, and only those. */
  announce(text) {
    const line = document.createElement("p");
    line.textContent = text;
    this.announcer.append(line);
    while (this.announcer.children.length > 3) this.announcer.firstElementChild.remove();
  }

  /** Keep the latest words in sight, unless somebody reads further up. */
  follow() {
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.box;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.tell();
  }

  /** Show the facts of a word beside it; without one, hide them. */
  tell(element) {
    this.chosen?.classList.remove("chosen");
    this.chosen = element?.dataset.facts ? element : undefined;
    this.facts.hidden = !this.chosen;
    if (!this.chosen) return;
    this.chosen.classList.add("chosen");
    this.facts.textContent = this.chosen.dataset.facts;
    const place = this.chosen.getBoundingClientRect();
    const frame = this.box.getBoundingClientRect();
    const left = Math.min(place.left - frame.left, frame.width - this.facts.offsetWidth - 8);
    const above = place.top - frame.top - this.facts.offsetHeight - 6;
    this.facts.style.left = `${Math.max(8, left)}px`;
    this.facts.style.top = `${above > 0 ? above : place.bottom - frame.top + 6}px`;
  }

  /** Go from word to word by keyboard. */
  step(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const words = [...this.box.querySelectorAll("[data-facts]")];
    if (!words.length) return;
    event.preventDefault();
    const here = words.indexOf(this.chosen);
    const next = here < 0 ? (move > 0 ? 0 : words.length - 1) : Math.max(0, Math.min(words.length - 1, here + move));
    words[next].scrollIntoView({ block: "nearest" });
    this.tell(words[next]);
    this.announce(`${words[next].textContent}: ${words[next].dataset.facts}`);
  }
}

function word(text, kind) {
  const element = document.createElement("span");
  element.className = `word ${kind}`;
  element.textContent = text;
  return element;
}

/** A token with the times and confidence of the words it stands for. */
function factual(token, words) {
  const element = word(token.text, "settled");
  const covered = words.slice(token.first, Math.max(token.last, token.first + 1));
  if (covered.length) {
    const confidence = Math.min(...covered.map((w) => w.confidence));
    if (confidence < UNSURE) element.classList.add("unsure");
    const { start } = covered[0];
    const { end } = covered[covered.length - 1];
    element.dataset.facts = `${start.toFixed(2)} – ${end.toFixed(2)} s · ${Math.round(100 * confidence)} % sure`;
  }
  return element;
}

function spaced(elements) {
  return elements.flatMap((element, i) => (i ? [" ", element] : [element]));
}

export function clock(s) {
  const whole = Math.floor(s);
  const minutes = Math.floor(whole / 60) % 60;
  const tail = `${String(minutes).padStart(whole >= 3600 ? 2 : 1, "0")}:${String(whole % 60).padStart(2, "0")}`;
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${tail}` : tail;
}
