// The microphone as pieces of int16, through an AudioWorklet.

const REFUSALS = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page and start again.",
  NotFoundError: "There is no microphone. Connect one and start again.",
  NotReadableError: "Another program holds the microphone. Close it and start again.",
};

export class Microphone {
  constructor(onPiece) {
    this.onPiece = onPiece;
  }

  /** Return the sample rate; undefined if it was stopped before it began. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode) {
      throw new Error("Browsers give the microphone to localhost and to https pages only.");
    }
    let context;
    try {
      // Ready before the microphone opens, so that its first words find a listener; and without a
      // loudspeaker, whose start would hold up the sound (browsers that lack the option ignore it).
      context = new AudioContext({ sinkId: { type: "none" } });
      this.context = context;
      await context.audioWorklet.addModule("/page/worklet.js");
      await context.resume();
      const media = await navigator.mediaDevices.getUserMedia({
        // What the network was trained on: sound as it is.
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
      if (this.context !== context) {
        for (const track of media.getTracks()) track.stop();
        return undefined;
      }
      this.media = media;
    } catch (error) {
      if (context && this.context !== context) return undefined;
      await this.stop();
      throw new Error(REFUSALS[error.name] ?? `The microphone cannot be used (${error.message}).`);
    }
    this.node = new AudioWorkletNode(this.context, "pieces", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => this.onPiece(data);
    this.source = this.context.createMediaStreamSource(this.media);
    this.source.connect(this.node);
    return this.context.sampleRate;
  }

  async stop() {
    this.source?.disconnect();
    if (this.node) this.node.port.onmessage = null;
    for (const track of this.media?.getTracks() ?? []) track.stop();
    const { context } = this;
    this.media = this.context = this.node = this.source = undefined;
    if (context && context.state !== "closed") await context.close();
  }
}
