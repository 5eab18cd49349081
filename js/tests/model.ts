import { vi } from "vitest";

/** A model that behaves as anywidget's: it holds traits, tells listeners of changes, and counts what is sent. */
export function model(traits: Record<string, unknown> = {}) {
  const state: Record<string, unknown> = { ...traits };
  const listeners = new Map<string, Set<() => void>>();
  return {
    get: (name: string) => state[name],
    set(name: string, value: unknown) {
      if (state[name] === value) return;
      state[name] = value;
      for (const act of listeners.get(`change:${name}`) ?? []) act();
    },
    on: (name: string, act: () => void) => listeners.set(name, (listeners.get(name) ?? new Set()).add(act)),
    off: (name: string, act: () => void) => listeners.get(name)?.delete(act),
    save_changes: vi.fn(),
    send: vi.fn(),
    widget_manager: { get_model: () => Promise.reject(new Error("no ipycanvas here")) },
    listening: () => [...listeners.values()].reduce((sum, acts) => sum + acts.size, 0),
  };
}

/** As the functions under test take it. */
export const as = (m: ReturnType<typeof model>) => m as never;

/** A key pressed on an element; whether its default was prevented. */
export function press(element: Element, key: string, more: KeyboardEventInit = {}): boolean {
  return !element.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }),
  );
}
