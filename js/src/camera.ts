// The camera: the next frame goes off when the kernel has answered the last, so that what is shown is what is seen.
import { h, icon } from "./dom";
import type { Intake, Model } from "./model";

const CAMERA = "M2 5h3l1-2h4l1 2h3v8H2zM8 7a2 2 0 1 0 0 4 2 2 0 0 0 0-4";
/** The side of a frame that is sent, in pixels, and its quality: about 15 kB. */
const FRAME = 256;
const QUALITY = 0.8;

export class Camera {
  readonly button = h(
    "button",
    {
      type: "button",
      class: "nbv-camera",
      title: "Explain what the camera sees, frame by frame; again to stop",
      "aria-label": "Camera",
      "aria-pressed": "false",
    },
    icon(CAMERA),
  );
  readonly message = h("span", { class: "nbv-message", role: "status" });
  private stream: MediaStream | null = null;
  private readonly video = h("video", { playsinline: "", muted: "" });
  private waiting = 0;
  private times: number[] = [];

  constructor(
    private readonly model: Model<Intake>,
    private readonly signal: AbortSignal,
  ) {
    this.button.hidden = !navigator.mediaDevices?.getUserMedia;
    this.button.addEventListener("click", () => void (this.stream ? this.stop() : this.start()), { signal });
    const answered = (message: { type?: string }) => {
      if (message.type === "next") void this.send();
    };
    model.on("msg:custom", answered);
    signal.addEventListener("abort", () => {
      model.off("msg:custom", answered);
      this.stop();
    });
  }

  async start(): Promise<void> {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
      if (this.signal.aborted) {
        for (const track of stream.getTracks()) track.stop();
        return;
      }
      this.stream = stream;
    } catch (error) {
      this.message.textContent = `No camera: ${(error as Error).message || "it may not be used here"}.`;
      return;
    }
    this.video.srcObject = this.stream;
    await this.video.play().catch(() => {});
    this.button.setAttribute("aria-pressed", "true");
    this.times = [];
    void this.send();
  }

  stop(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    clearTimeout(this.waiting);
    this.button.setAttribute("aria-pressed", "false");
    this.message.textContent = "";
  }

  private async send(): Promise<void> {
    clearTimeout(this.waiting);
    if (!this.stream) return;
    const { videoWidth: width, videoHeight: height } = this.video;
    if (document.hidden || !width) {
      this.waiting = window.setTimeout(() => void this.send(), 100);
      return;
    }
    const scale = FRAME / Math.min(width, height);
    const canvas = h("canvas", {
      width: `${Math.round(width * scale)}`,
      height: `${Math.round(height * scale)}`,
    });
    canvas.getContext("2d")?.drawImage(this.video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    if (!blob || !this.stream) return;
    this.model.send({ type: "frame" }, undefined, [await blob.arrayBuffer()]);
    this.count();
    // An answer that is lost does not end it.
    this.waiting = window.setTimeout(() => void this.send(), 5000);
  }

  private count(): void {
    this.times.push(performance.now());
    if (this.times.length > 11) this.times.shift();
    const [first, last] = [this.times[0], this.times[this.times.length - 1]];
    if (this.times.length > 2) {
      const rate = ((this.times.length - 1) * 1000) / (last - first);
      this.message.textContent = `${rate.toFixed(1)} frames a second`;
    }
  }
}
