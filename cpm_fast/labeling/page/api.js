// Requests to the server that sent this page; the token is the head of every path.
const base = new URL("./", location.href);

export class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function ask(path, options = {}) {
  const answer = await fetch(new URL(path, base), { cache: "no-store", ...options });
  if (!answer.ok && answer.status !== 409) throw new Refused(answer.status, await answer.text());
  return answer;
}

const send = (path, method, content) =>
  ask(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(content) });

export const getFolder = async () => (await ask("api/folder")).json();
export const getChanges = async (since) => (await ask(`api/changes?since=${since}`)).json();
export const getPicture = async (number) => (await ask(`api/pictures/${number}`)).json();
export const predict = async (number, box) => (await send(`api/pictures/${number}/predict`, "POST", { box })).json();
export const thumbAddress = (number) => new URL(`api/pictures/${number}/thumb`, base).href;

export async function getImage(number) {
  const answer = await ask(`api/pictures/${number}/image`);
  return createImageBitmap(await answer.blob());
}

// The picture as saved, or { conflict } with the picture as somebody else saved it.
export async function putPicture(number, change) {
  const answer = await send(`api/pictures/${number}`, "PUT", change);
  const content = await answer.json();
  return answer.status === 409 ? { conflict: content.picture } : { saved: content };
}
