// Puts the page together.
import { getChanges, getFolder, getPicture } from "./api.js";
import { App } from "./app.js";
import { fillHelp, listen as listenKeys } from "./keys.js";
import { Labels } from "./labels.js";
import { Panel } from "./panel.js";
import { listen as listenPointer } from "./pointer.js";
import { Saver } from "./saver.js";
import { Strip } from "./strip.js";
import { View } from "./view.js";

const POLL_MS = 1500;
const of = (id) => document.getElementById(id);
const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* storage may be switched off */ } };
const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}
setTheme(recall("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));

function choose(count) {
  const dialog = of("conflict");
  of("conflict-text").textContent = `Another page or program changed ${count} of the things that you changed. The rest is brought together.`;
  dialog.returnValue = "mine";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue || "mine"), { once: true }));
}

async function start() {
  const folder = await getFolder();
  const view = new View(of("stage"), of("pixels"), of("marks"));
  let panel, strip, saver, drawing = null, version = folder.version;
  const hooks = {
    // Everything is drawn once per frame however often it is asked for; "view" leaves the panel and the strip alone.
    draw(what = "all") {
      if (!drawing) requestAnimationFrame(() => { const all = drawing === "all"; drawing = null; render(all); });
      drawing = drawing === "all" ? "all" : what;
    },
    message: (text) => panel.message(text),
    touch(number, labels) { saver.touch(number, labels); },
    hover: (name) => panel.hint(name),
    slide(id, by) { of(id).value = Number(of(id).value) + by; light(); },
    theme() { const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; setTheme(next); remember("theme", next); hooks.draw(); },
    help() { of("help").showModal(); },
  };
  const app = new App(folder, view, hooks);
  panel = new Panel(app);
  strip = new Strip(of("strip"), of("map"), (number, by) => (number === null ? app.step(by) : app.show(number)));
  saver = new Saver(folder.folder, app.names, {
    status: (kind, text) => { panel.status(kind, text); document.body.dataset.saved = kind || "yes"; },
    saved(number, labels, state) { app.states[number] = state; hooks.draw(); },
    merged() { panel.message("brought together with a change made elsewhere"); hooks.draw(); },
    choose,
  });

  function figures() {
    const shown = app.figures();
    if (!app.preview) return shown;
    return shown.map((figure) => {
      if (figure.dim || !figure.active) return figure;
      if (app.preview.box) return { ...figure, box: app.preview.box };
      const points = figure.points.map((p, i) => (i === app.preview.part && p ? [...app.preview.at, p[2]] : p));
      return { ...figure, points };
    });
  }

  function render(all) {
    view.drawPixels();
    view.drawMarks(figures(), { colors: app.colors, limbs: app.limbs, names: app.skeleton.names, part: app.part, showNames: app.showNames, draft: app.draft });
    of("zoom").textContent = view.bitmap ? `${view.bitmap.width} × ${view.bitmap.height} · ${Math.round(100 * view.scale)} %` : "";
    panel.hint("");
    if (!all) return;
    panel.draw();
    if (app.number >= 0) strip.draw(app.order, app.states, app.number, app.names);
    document.body.dataset.picture = app.ready ? String(app.number) : "";
    document.body.dataset.shownMs = String(app.shownMs ?? "");
  }

  function light() {
    of("pixels").style.filter = `brightness(${of("brightness").value}) contrast(${of("contrast").value})`;
  }

  const clicks = {
    previous: () => app.step(-1), next: () => app.step(1), accept: () => app.accept(), box: () => app.toggleBoxMode(),
    hidden: () => app.toggleHidden(), swap: () => app.swapSides(), empty: () => app.markEmpty(), predict: () => app.predict(),
    undo: () => app.undo(), redo: () => app.redo(), theme: hooks.theme, "help-button": hooks.help,
  };
  for (const [id, act] of Object.entries(clicks)) of(id).addEventListener("click", (event) => { act(); event.currentTarget.blur(); });
  of("order").addEventListener("change", (event) => { app.sort(event.target.value); event.target.blur(); });
  for (const id of ["brightness", "contrast"]) {
    of(id).addEventListener("input", light);
    of(id).addEventListener("dblclick", () => { of(id).value = 1; light(); });
    of(id).addEventListener("change", () => of(id).blur());
  }
  fillHelp(of("keys"));
  listenPointer(of("stage"), app, view);
  listenKeys(app);
  new ResizeObserver(() => { view.resize(); hooks.draw(); }).observe(of("stage"));
  addEventListener("beforeunload", (event) => { if (saver.waiting.size) event.preventDefault(); });

  async function poll() {
    try {
      const changes = await getChanges(version);
      version = changes.version;
      for (const [key, change] of Object.entries(changes.pictures)) await changed(Number(key), change);
      if (Object.keys(changes.pictures).length) hooks.draw();
      if (!saver.waiting.size) { panel.status("", "saved"); document.body.dataset.saved = "yes"; }
    } catch (error) {
      if (error.status === 400) version = (await getFolder().catch(() => ({ version }))).version; // the server began anew
      else { panel.status("bad", "server gone"); document.body.dataset.saved = "bad"; }
    }
    setTimeout(poll, POLL_MS);
  }

  async function changed(number, change) {
    app.states[number] = change.state;
    app.uncertainty[number] = change.uncertainty;
    const labels = app.known.get(number);
    if (!labels || saver.waiting.has(number)) return;
    if (labels.revision === change.revision && (number !== app.number || change.state !== "predicted")) return;
    if (number !== app.number) { app.known.delete(number); return; }
    const picture = await getPicture(number);
    if (number !== app.number || saver.waiting.has(number)) return;
    if (picture.revision === labels.revision) labels.predictions = picture.predictions;
    else {
      app.labels = new Labels(picture);
      app.known.set(number, app.labels);
      panel.message("this picture was changed elsewhere");
    }
  }

  view.resize();
  const last = app.names.indexOf(recall(`last:${folder.folder}`) ?? "");
  const show = app.show.bind(app);
  app.show = (number) => { remember(`last:${folder.folder}`, app.names[number]); return show(number); };
  if (await saver.recover().catch(() => 0)) panel.message("changes that were not saved before are saved now");
  await app.show(Math.max(0, last));
  document.body.dataset.ready = "yes";
  setTimeout(poll, POLL_MS);
}

start().catch((error) => {
  of("message").hidden = false;
  of("message").textContent = `the page can't start: ${error.message}`;
});
