// Every key of the page, once: what it does and what the help says.
export const KEYS = [
  [["ArrowRight", "."], "next picture", (a) => a.step(1)],
  [["ArrowLeft", ","], "previous picture", (a) => a.step(-1)],
  [["j"], "next picture without labels", (a) => a.nextUnlabeled()],
  [["o"], "order: by name or least certain first", (a) => a.sort(a.orderBy === "name" ? "uncertainty" : "name")],
  [["ArrowDown", "s"], "next part (leave this one out)", (a) => a.cyclePart(1)],
  [["ArrowUp", "w"], "previous part", (a) => a.cyclePart(-1)],
  [["Delete", "Backspace"], "remove the part", (a) => a.remove()],
  [["h"], "the part is hidden or visible", (a) => a.toggleHidden()],
  [["a"], "take over the prediction of this subject", (a) => a.accept()],
  [["Shift+A"], "take over all predictions", (a) => a.accept(true)],
  [["e"], "take over the prediction of this part", (a) => a.acceptPart()],
  [["p"], "ask the network, within the box if there is one", (a) => a.predict()],
  [["n"], "new subject", (a) => a.addSubject()],
  [["Tab"], "next subject", (a) => a.cycleSubject()],
  [["Shift+Delete", "Shift+Backspace"], "remove the subject", (a) => a.removeSubject()],
  [["b"], "draw the subject's box", (a) => a.toggleBoxMode()],
  [["Shift+B"], "remove the box", (a) => a.removeBox()],
  [["m"], "exchange left and right", (a) => a.swapSides()],
  [["x"], "there is no subject in the picture", (a) => a.markEmpty()],
  [["Ctrl+z", "z"], "undo", (a) => a.undo()],
  [["Ctrl+y", "y", "Ctrl+Shift+Z"], "redo", (a) => a.redo()],
  [["Shift+ArrowLeft"], "move the part by a pixel", (a) => a.nudge(-1, 0), "Shift+arrows"],
  [["Shift+ArrowRight"], null, (a) => a.nudge(1, 0)],
  [["Shift+ArrowUp"], null, (a) => a.nudge(0, -1)],
  [["Shift+ArrowDown"], null, (a) => a.nudge(0, 1)],
  [["+", "="], "zoom in, or turn the wheel", (a) => { a.view.zoom(1.3); a.hooks.draw("view"); }],
  [["-"], "zoom out", (a) => { a.view.zoom(1 / 1.3); a.hooks.draw("view"); }],
  [["0"], "whole picture", (a) => { a.view.fit(); a.hooks.draw("view"); }],
  [["]"], "brighter", (a) => a.hooks.slide("brightness", 0.1)],
  [["["], "darker", (a) => a.hooks.slide("brightness", -0.1)],
  [["}"], "more contrast", (a) => a.hooks.slide("contrast", 0.1)],
  [["{"], "less contrast", (a) => a.hooks.slide("contrast", -0.1)],
  [["l"], "show or hide the names of parts", (a) => { a.showNames = !a.showNames; a.hooks.draw(); }],
  [["t"], "light or dark page", (a) => a.hooks.theme()],
  [["?"], "this help", (a) => a.hooks.help()],
];
const MOUSE = [
  ["click", "place the part; take over a predicted one"], ["Shift+click", "place it as hidden"], ["drag", "move a part, or an edge of the box"],
  ["right click", "remove the part"], ["wheel", "zoom"], ["Space+drag, middle button", "move the picture"],
];

const SHOWN = { ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓" };

function nameOf(event) {
  const command = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  // Signs like ? and } already are what Shift makes of a key.
  const named = event.key.length > 1 || /[a-z]/i.test(event.key);
  const key = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
  return command + (event.shiftKey && named ? "Shift+" : "") + (event.shiftKey && key.length === 1 ? key.toUpperCase() : key);
}

export function listen(app) {
  const actions = new Map(KEYS.flatMap(([keys, , act]) => keys.map((key) => [key, act])));
  addEventListener("keydown", (event) => {
    if (event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target instanceof HTMLSelectElement || event.target instanceof HTMLInputElement) return;
    const act = actions.get(nameOf(event));
    if (!act) return;
    event.preventDefault();
    act(app);
  });
}

export function fillHelp(element) {
  const rows = [...KEYS.filter(([, text]) => text).map(([keys, text, , shown]) => [shown ? [shown] : keys, text]), ...MOUSE.map(([key, text]) => [[key], text])];
  element.replaceChildren(...rows.map(([keys, text]) => {
    const row = document.createElement("div");
    const what = document.createElement("span");
    what.textContent = text;
    const shown = document.createElement("span");
    keys.forEach((key) => {
      const k = document.createElement("kbd");
      k.textContent = key.split("+").map((piece) => SHOWN[piece] ?? piece).join("+") || "+";
      if (key === "+") k.textContent = "+";
      shown.append(k, " ");
    });
    row.append(what, shown);
    return row;
  }));
}
