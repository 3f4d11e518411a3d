// The side panel, the head of the page and the messages.
const MARKS = { 2: "●", 1: "◐ hidden" };

export class Panel {
  constructor(app) {
    this.app = app;
    this.of = (id) => document.getElementById(id);
    this.rows = app.skeleton.names.map((name, part) => {
      const row = document.createElement("li");
      row.tabIndex = -1;
      const dot = document.createElement("i");
      dot.style.background = app.colors[part];
      const text = document.createElement("span");
      text.className = "name"; text.textContent = name; text.title = name;
      const mark = document.createElement("span");
      mark.className = "mark";
      row.append(dot, text, mark);
      row.addEventListener("click", () => app.choose(Math.min(app.subject, app.subjects.length), part));
      return row;
    });
    this.of("parts").append(...this.rows);
    this.of("folder").textContent = `${app.folder.folder} /`;
    this.of("predict").hidden = !app.folder.model;
    this.of("predict").title += app.folder.model ? `: ${app.folder.model}` : "";
  }

  draw() {
    const { app } = this;
    this.of("picture").textContent = app.names[app.number] ?? "";
    this.of("picture").title = app.names[app.number] ?? "";
    const state = app.states[app.number];
    this.of("state").textContent = state === "empty" ? "no subject" : state;
    this.of("state").className = `badge ${state}`;
    const done = app.states.filter((s) => !["untouched", "predicted"].includes(s)).length;
    this.of("progress").textContent = `${done} of ${app.names.length} labeled`;
    this.of("bar").style.width = `${(100 * done) / app.names.length}%`;
    this.of("order").value = app.orderBy;
    this.drawSubjects();
    this.drawParts();
    this.drawWarnings();
    this.of("box").classList.toggle("on", app.boxMode);
    this.of("empty").classList.toggle("on", app.labels?.state === "empty");
    this.of("undo").disabled = !app.labels?.done.length;
    this.of("redo").disabled = !app.labels?.undone.length;
    this.of("accept").disabled = !app.labels?.predictions.length;
    this.of("swap").disabled = !app.skeleton.pairs.length;
    const point = app.subjects[app.subject]?.points[app.part];
    this.of("hidden").classList.toggle("on", point?.[2] === 1);
    this.of("hidden").disabled = !point;
  }

  drawSubjects() {
    const { app } = this;
    const chips = app.subjects.map((subject, i) => {
      const chip = document.createElement("button");
      const placed = subject.points.filter(Boolean).length;
      chip.textContent = `${i + 1}`;
      chip.title = `${placed} of ${app.parts} parts${subject.box ? ", with a box" : ""}`;
      chip.classList.toggle("on", i === app.subject);
      chip.addEventListener("click", () => app.choose(i));
      return chip;
    });
    const add = document.createElement("button");
    add.textContent = app.subject >= app.subjects.length && app.subjects.length ? `${app.subjects.length + 1} (new)` : "+";
    add.title = "New subject (N)";
    add.classList.toggle("on", app.subject >= app.subjects.length);
    add.addEventListener("click", () => app.addSubject());
    this.of("subjects").replaceChildren(...chips, add);
  }

  drawParts() {
    const { app } = this;
    const points = app.subjects[app.subject]?.points ?? [];
    const figure = app.figures().find((f) => f.dim && (f.active || f.index < 0));
    this.rows.forEach((row, part) => {
      const predicted = figure?.points[part];
      row.classList.toggle("on", part === app.part);
      row.classList.toggle("none", !points[part]);
      row.lastChild.textContent = points[part] ? MARKS[points[part][2]] : predicted ? `◌ ${predicted[2].toFixed(2)}` : "";
      row.lastChild.title = predicted && !points[part] ? "predicted, with its score" : "";
    });
    if (this.scrolled !== app.part) this.rows[app.part]?.scrollIntoView({ block: "nearest" });
    this.scrolled = app.part;
  }

  drawWarnings() {
    const { app } = this;
    const own = app.labels?.warnings ?? [];
    const lines = own.flatMap((texts, i) => texts.map((text) => `subject ${i + 1}: ${text}`));
    this.of("warnings").hidden = !lines.length;
    this.of("warnings").replaceChildren(...lines.map((line) => {
      const row = document.createElement("p");
      row.textContent = `⚠ ${line}`;
      return row;
    }));
  }

  hint(hovered) {
    const { app } = this;
    const hint = this.of("hint");
    const free = !app.subjects[app.subject]?.points[app.part];
    const text = app.boxMode ? "drag the subject's box" : hovered || (free ? `click: ${app.skeleton.names[app.part]}` : app.skeleton.names[app.part]);
    const part = hovered ? app.skeleton.names.indexOf(hovered) : app.part;
    const dot = document.createElement("i");
    dot.style.background = app.colors[part];
    hint.replaceChildren(...(app.boxMode ? [] : [dot]), text);
  }

  status(kind, text) {
    this.of("saved").className = `saved ${kind}`;
    this.of("saved").textContent = text;
  }

  message(text) {
    this.of("message").textContent = text;
    this.of("message").hidden = !text;
    clearTimeout(this.timer);
    if (text) this.timer = setTimeout(() => this.message(""), 6000);
  }
}
