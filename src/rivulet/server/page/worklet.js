// On the audio thread: 128 samples at a time become pieces of 40 ms, int16.

const PIECE_S = 0.04;

class Pieces extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate * PIECE_S));
    this.filled = 0;
    this.peak = 0;
    this.squares = 0;
  }

  process([channels]) {
    const input = channels[0];
    if (!input) return true; // no microphone yet, or no more
    for (let i = 0; i < input.length; i += 1) {
      const value = Math.max(-1, Math.min(1, input[i]));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.squares += value * value;
      this.piece[this.filled] = value < 0 ? value * 32768 : value * 32767;
      this.filled += 1;
      if (this.filled === this.piece.length) this.send();
    }
    return true;
  }

  send() {
    const samples = this.piece.slice();
    const rms = Math.sqrt(this.squares / samples.length);
    this.port.postMessage({ samples, rms, peak: this.peak }, [samples.buffer]);
    this.filled = 0;
    this.peak = 0;
    this.squares = 0;
  }
}

registerProcessor("pieces", Pieces);
