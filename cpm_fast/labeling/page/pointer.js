// Mouse actions on the picture.
const MOVED_PX = 3;

export function listen(stage, app, view) {
  let drag = null;
  let space = false;
  const at = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

  addEventListener("keydown", (event) => { if (event.code === "Space" && event.target === document.body) space = true; });
  addEventListener("keyup", (event) => { if (event.code === "Space") space = false; });
  stage.addEventListener("contextmenu", (event) => event.preventDefault());

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (!view.bitmap) return;
    view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016) * (event.deltaMode ? 30 : 1)), at(event));
    app.hooks.draw("view");
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    if (!app.ready) return;
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    const from = at(event);
    if (event.button === 1 || (event.button === 0 && (space || event.altKey))) drag = { kind: "pan", from };
    else if (event.button === 2) rightClick(from);
    else if (event.button === 0) drag = leftPress(from, event);
    if (drag) stage.setPointerCapture(event.pointerId);
    event.preventDefault();
  });

  function rightClick(from) {
    const figures = app.figures();
    const hit = view.pointAt(from, figures.map((f) => (f.dim ? { ...f, points: [] } : f)));
    if (hit) { app.choose(figures[hit.figure].index, hit.part); app.remove(); }
  }

  function leftPress(from, event) {
    if (app.boxMode) return { kind: "draft", from, start: view.clamped(view.toImage(from)) };
    const figures = app.figures();
    const hit = view.pointAt(from, figures);
    if (hit) {
      const figure = figures[hit.figure];
      if (figure.dim) app.take(figure, hit.part);
      else app.choose(figure.index, hit.part);
      return { kind: "point", from, part: hit.part, subjects: app.subjects, moved: false };
    }
    const box = app.subjects[app.subject]?.box;
    const sides = view.edgeAt(from, box);
    if (sides) return { kind: "edge", from, sides, box, subjects: app.subjects, moved: false };
    if (view.contains(view.toImage(from)) && app.place(view.toImage(from), event.shiftKey)) return null;
    return { kind: "pan", from };
  }

  stage.addEventListener("pointermove", (event) => {
    const to = at(event);
    if (!drag) { hover(to); return; }
    if (drag.kind === "pan") {
      view.pan(to[0] - drag.from[0], to[1] - drag.from[1]);
      drag.from = to;
      app.hooks.draw("view");
    } else if (drag.kind === "draft") {
      drag.box = ordered([...drag.start, ...view.clamped(view.toImage(to))]);
      app.draft = drag.box;
      app.hooks.draw("view");
    } else if (drag.moved || Math.hypot(to[0] - drag.from[0], to[1] - drag.from[1]) >= MOVED_PX) {
      drag.moved = true;
      app.preview = drag.kind === "point" ? { part: drag.part, at: view.clamped(view.toImage(to)) } : { box: pulled(drag, to) };
      app.hooks.draw("view");
    }
  });

  function hover(to) {
    if (!view.bitmap || !app.ready) return;
    const hit = view.pointAt(to, app.figures());
    const edge = !hit && view.edgeAt(to, app.subjects[app.subject]?.box);
    stage.classList.toggle("point", Boolean(hit || edge));
    stage.classList.toggle("pan", space);
    app.hooks.hover(hit ? app.skeleton.names[hit.part] : "");
  }

  function pulled(dragged, to) {
    const box = [...dragged.box];
    const place = view.clamped(view.toImage(to));
    dragged.sides.forEach((side, axis) => { if (side !== null) box[side] = place[axis]; });
    return ordered(box);
  }

  const finish = () => {
    const done = drag;
    const preview = app.preview;
    drag = null; app.preview = null; app.draft = null;
    if (!done) return;
    if (done.kind === "draft") {
      app.boxMode = false;
      if (done.box && done.box[2] - done.box[0] > 1 && done.box[3] - done.box[1] > 1) app.setBox(done.box);
    } else if (done.kind === "point" && done.moved && preview) app.move(done.part, preview.at);
    else if (done.kind === "edge" && done.moved && preview) app.setBox(preview.box);
    app.hooks.draw();
  };
  stage.addEventListener("pointerup", finish);
  stage.addEventListener("pointercancel", finish);
}

const ordered = ([a, b, c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
