// The front end: one bundle, a view for each kind of widget. The kernel sends bytes; colouring, scaling, opacity,
// threshold and the value under the cursor are worked out here, without a message.
import type { RenderProps } from "@anywidget/types";
import { classes } from "./classes";
import { files } from "./files";
import { intake } from "./intake";
import { layers } from "./layers";
import { maps } from "./maps";
import { marking } from "./marking";
import type { Front } from "./model";
import { pictures } from "./pictures";
import { status } from "./status";
import { tiles } from "./tiles";
import { toolbar } from "./toolbar";

const KINDS = { maps, status, tiles, pictures, tools: toolbar, layers, intake, marking, classes, files };

async function render({ model, el }: RenderProps<Front>) {
  const gone = new AbortController();
  el.classList.add("nbv");
  await KINDS[model.get("kind")](ignoringLostMessages(model) as never, el, gone.signal);
  return () => gone.abort();
}

/** The model; a message sent without a kernel is dropped, where JupyterLab would throw. */
function ignoringLostMessages<Of extends object>(model: Of): Of {
  return new Proxy(model, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      if (name !== "send") return value.bind(target);
      return (...message: unknown[]) => {
        try {
          return value.apply(target, message);
        } catch (error) {
          if (!String(error).includes("Cannot send")) throw error;
        }
      };
    },
  });
}

export default { render };
