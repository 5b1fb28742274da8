// A file: sent whole, its events come back as lines while it is transcribed.

export async function* transcribe(file, hotWords, headers) {
  const form = new FormData();
  form.append("model", "rivulet");
  form.append("response_format", "jsonl");
  for (const phrase of hotWords) form.append("keywords[]", phrase);
  form.append("file", file);
  const answer = await fetch("/v1/audio/transcriptions", { method: "POST", body: form, headers });
  if (!answer.ok) throw new Error(await sentenceOf(answer));
  for await (const line of lines(answer.body)) {
    const event = JSON.parse(line);
    if (event.type === "error") throw new Error(event.message);
    yield event;
  }
}

/** Finals as txt, srt or vtt, by the server's rules, which are those of the command line. */
export async function render(finals, format, headers) {
  const body = finals.map((final) => JSON.stringify(final)).join("\n");
  const answer = await fetch(`/v1/render?format=${format}`, { method: "POST", body, headers });
  if (!answer.ok) throw new Error(await sentenceOf(answer));
  return answer.text();
}

async function sentenceOf(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    yield* parts.filter(Boolean);
    if (done) break;
  }
  if (rest) yield rest;
}
