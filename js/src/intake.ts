// Where pictures come in: samples as thumbnails, files dropped or pasted anywhere on the explorer, the camera; and a box
// drawn on the picture crops it. What is given goes to the kernel and nowhere else.
import { button, h, icon } from "./dom";
import { keys } from "./keys";
import { bytes, follow, type Intake, type Model } from "./model";

const PLUS = "M8 3v10M3 8h10";
const CROP = "M4 1v11h11M1 4h11v11";
const CAMERA = "M2 5h3l1-2h4l1 2h3v8H2zM8 7a2 2 0 1 0 0 4 2 2 0 0 0 0-4";
/** The side of a camera's frame that is sent, in pixels, and its quality: about 15 kB. */
const FRAME = 256;
const QUALITY = 0.8;
/** The largest file that is sent, in bytes: what the kernel takes for a picture is far smaller. */
const MOST = 100e6;

export function intake(model: Model<Intake>, el: HTMLElement, signal: AbortSignal): void {
  const strip = h("div", {
    class: "nbv-strip nbv-key-p",
    role: "listbox",
    tabindex: "0",
    "aria-label": "Pictures",
  });
  const crop = new Crop(model, signal);
  const camera = new Camera(model, signal);
  const message = h("span", { class: "nbv-message", role: "status", "aria-live": "polite" });
  const file = h("input", { type: "file", accept: "image/*", hidden: "", tabindex: "-1" });
  const upload = button(
    icon(PLUS),
    "A picture from your computer; or drop or paste one anywhere here",
    "",
    () => file.click(),
    signal,
  );
  upload.classList.add("nbv-upload");
  const opener = button(
    icon(CROP),
    "The picture as it was given, to crop it",
    "",
    () => unfold(crop.element.hidden),
    signal,
  );
  opener.classList.add("nbv-original-opener");
  const unfold = (open: boolean) => {
    crop.element.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) model.send({ type: "measure" }); // which part the network takes
  };
  unfold(false);
  const element = h(
    "section",
    { class: "nbv-intake", "aria-label": "Picture" },
    strip,
    upload,
    camera.button,
    opener,
    file,
    h("div", { class: "nbv-chip" }, message, camera.message),
    crop.element,
  );
  file.addEventListener(
    "change",
    () => {
      void take(file.files?.[0]);
      file.value = ""; // that the same file can be chosen again
    },
    { signal },
  );
  const elsewhere = (event: Event) => {
    if (!element.contains(event.target as Node)) unfold(false);
  };
  window.addEventListener("pointerdown", elsewhere, { capture: true, signal });
  element.addEventListener("keydown", (event) => event.key === "Escape" && unfold(false), { signal });

  let active = 0;
  const thumb = (name: string, title: string, encoded: DataView, i: number) => {
    const image = h("img", { alt: title, draggable: "false" });
    void show(image, encoded);
    return h("div", { role: "option", title, id: `${id}-${i}`, "data-name": name }, image);
  };
  /** The samples, and behind them the last picture that was the reader's own. */
  const offer = () => {
    const [names, own] = [model.get("names"), model.get("own")];
    const samples = model
      .get("thumbs")
      .map((encoded, i) => thumb(names[i] ?? "", names[i] ?? "", encoded, i));
    const last = own ? [thumb(own, `${own}: your picture`, model.get("own_thumb"), samples.length)] : [];
    strip.replaceChildren(...samples, ...last);
    mark();
  };
  const id = `nbv-sample-${Math.random().toString(36).slice(2)}`;
  const mark = () => {
    const names = [...strip.children].map((option) => (option as HTMLElement).dataset.name ?? "");
    const chosen = names.lastIndexOf(model.get("current"));
    if (chosen >= 0) active = chosen;
    for (const [i, option] of [...strip.children].entries()) {
      option.setAttribute("aria-selected", String(i === chosen));
      option.classList.toggle("nbv-active", i === active);
    }
    strip.setAttribute("aria-activedescendant", `${id}-${active}`);
  };
  const choose = (at: number) => {
    camera.stop();
    const name = model.get("names")[at];
    model.send(name === undefined ? { type: "own" } : { type: "sample", name });
  };
  // The wheel goes through them: there is nothing else to scroll, until they are at an end.
  const roll = (event: WheelEvent) => {
    const before = strip.scrollLeft;
    if (event.ctrlKey || event.deltaX) return;
    strip.scrollLeft += event.deltaY;
    if (strip.scrollLeft !== before) event.preventDefault();
  };
  strip.addEventListener("wheel", roll, { passive: false, signal });
  strip.addEventListener(
    "click",
    (event) => {
      const option = (event.target as Element).closest("[role=option]");
      if (option) choose([...strip.children].indexOf(option));
    },
    { signal },
  );
  keys(
    element,
    (event) => {
      if (document.activeElement !== strip) return false;
      const last = strip.children.length - 1;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) active = Math.max(0, Math.min(last, active + step));
      else if (event.key === "Home") active = 0;
      else if (event.key === "End") active = last;
      else if (event.key === "Enter" || event.key === " ") choose(active);
      else return false;
      for (const [i, option] of [...strip.children].entries())
        option.classList.toggle("nbv-active", i === active);
      strip.setAttribute("aria-activedescendant", `${id}-${active}`);
      strip.children[active]?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
      return true;
    },
    signal,
  );

  const take = async (file: File | null | undefined) => {
    if (!file) return;
    if (file.size > MOST) {
      message.textContent = `${file.name} is larger than ${MOST / 1e6} MB: give a smaller picture.`;
      return;
    }
    camera.stop();
    message.textContent = "";
    model.send({ type: "picture", name: file.name || "pasted.png" }, undefined, [await file.arrayBuffer()]);
  };
  const explorer = () => element.closest(".nbcnnviz");
  const here = (event: Event) => explorer()?.contains(event.target as Node) ?? false;
  const dragged = (event: DragEvent) => {
    if (!here(event) || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    explorer()?.classList.toggle("nbv-dropping", event.type === "dragover");
    if (event.type === "drop") void take(event.dataTransfer.files[0]);
  };
  for (const name of ["dragover", "drop"] as const)
    window.addEventListener(name, dragged, { capture: true, signal });
  window.addEventListener(
    "dragleave",
    (event) => here(event) && explorer()?.classList.remove("nbv-dropping"),
    {
      capture: true,
      signal,
    },
  );
  const pasted = (event: ClipboardEvent) => {
    const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
    const focus = document.activeElement;
    if (!file || !(here(event) || (focus && explorer()?.contains(focus)))) return;
    event.preventDefault();
    event.stopPropagation();
    void take(file);
  };
  window.addEventListener("paste", pasted, { capture: true, signal });

  follow(model, ["thumbs", "names", "own", "own_thumb"], offer, signal);
  follow(model, ["current"], mark, signal);
  const again = () => crop.element.hidden || model.send({ type: "measure" });
  follow(model, ["original", "crop"], again, signal);
  el.append(element);
  offer();
}

/** Put encoded bytes into an image, by a URL that is let go at once. */
async function show(image: HTMLImageElement, encoded: DataView): Promise<void> {
  const url = URL.createObjectURL(new Blob([bytes(encoded)]));
  image.src = url;
  await image.decode().catch(() => {});
  URL.revokeObjectURL(url);
}

type Box = [left: number, top: number, right: number, bottom: number];

/** The picture as it was given, and on it the box that is cropped. Shares of width and height, 0 to 1. */
class Crop {
  private readonly image = h("img", { alt: "The picture as given", draggable: "false" });
  private readonly box = h("div", { class: "nbv-crop", "aria-hidden": "true" });
  private readonly taken = h("div", { class: "nbv-taken", "aria-hidden": "true" });
  private readonly stage = h(
    "div",
    { class: "nbv-original", title: "Draw a box to crop to it" },
    this.image,
    this.box,
    this.taken,
  );
  readonly whole = h(
    "button",
    { type: "button", title: "Crop no more: take all of the picture" },
    "Whole picture",
  );
  readonly element = h(
    "div",
    { class: "nbv-popover nbv-crop-popover", role: "group", "aria-label": "The picture as given" },
    this.stage,
    h("p", { class: "nbv-hint" }, "Draw a box to crop. Dashed: the part that the network takes."),
    this.whole,
  );

  constructor(
    private readonly model: Model<Intake>,
    signal: AbortSignal,
  ) {
    let from: [number, number] | null = null;
    let drawn: Box | null = null;
    const place = (event: PointerEvent): [number, number] => {
      const frame = this.image.getBoundingClientRect();
      const within = (v: number) => Math.max(0, Math.min(1, v));
      return [
        within((event.clientX - frame.left) / frame.width),
        within((event.clientY - frame.top) / frame.height),
      ];
    };
    this.stage.addEventListener(
      "pointerdown",
      (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        this.stage.setPointerCapture(event.pointerId);
        from = place(event);
        drawn = null;
      },
      { signal },
    );
    this.stage.addEventListener(
      "pointermove",
      (event) => {
        if (!from) return;
        const [x, y] = place(event);
        drawn = [Math.min(from[0], x), Math.min(from[1], y), Math.max(from[0], x), Math.max(from[1], y)];
        this.draw(drawn);
      },
      { signal },
    );
    const end = (event: PointerEvent) => {
      if (!from) return;
      from = null;
      const frame = this.image.getBoundingClientRect();
      // A click, or a slip of the hand, is no box.
      const large =
        drawn && (drawn[2] - drawn[0]) * frame.width > 8 && (drawn[3] - drawn[1]) * frame.height > 8;
      if (event.type === "pointerup" && drawn && large) model.send({ type: "crop", box: drawn });
      else this.draw(model.get("crop") as Box);
    };
    this.stage.addEventListener("pointerup", end, { signal });
    this.stage.addEventListener("pointercancel", end, { signal });
    this.whole.addEventListener("click", () => model.send({ type: "crop", box: [0, 0, 1, 1] }), { signal });
    const refresh = () => {
      const known = bytes(model.get("original")).length > 0;
      this.stage.hidden = !known;
      if (known) void show(this.image, model.get("original"));
    };
    const mark = () => this.draw(model.get("crop") as Box);
    follow(model, ["original"], refresh, signal);
    follow(model, ["crop", "taken"], mark, signal);
    refresh();
    mark();
  }

  private draw([left, top, right, bottom]: Box): void {
    const whole = right - left >= 1 && bottom - top >= 1;
    this.box.hidden = whole;
    this.whole.disabled = (this.model.get("crop") as Box).every((v, i) => v === [0, 0, 1, 1][i]);
    place(this.box, [left, top, right, bottom]);
    // What the network takes is a part of what is cropped.
    const taken = this.model.get("taken");
    this.taken.hidden = taken.length !== 4;
    if (taken.length !== 4) return;
    const [width, height] = [right - left, bottom - top];
    place(this.taken, [
      left + taken[0] * width,
      top + taken[1] * height,
      left + taken[2] * width,
      top + taken[3] * height,
    ]);
  }
}

function place(box: HTMLElement, [left, top, right, bottom]: Box): void {
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
  Object.assign(box.style, {
    left: percent(left),
    top: percent(top),
    width: percent(right - left),
    height: percent(bottom - top),
  });
}

/** The camera: the next frame goes off when the kernel has answered the last, so that what is shown is what is seen. */
class Camera {
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
