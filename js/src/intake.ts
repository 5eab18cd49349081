// Where pictures come in: samples as thumbnails, files dropped or pasted anywhere on the explorer, the camera; and a box
// drawn on the picture crops it. What is given goes to the kernel and nowhere else.
import { Camera } from "./camera";
import { Crop } from "./crop";
import { button, h, icon, show } from "./dom";
import { keys } from "./keys";
import { bytes, follow, type Intake, type Model } from "./model";

const PLUS = "M8 3v10M3 8h10";
const CROP = "M4 1v11h11M1 4h11v11";
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
    void show(image, bytes(encoded));
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
