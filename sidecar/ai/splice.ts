// Changes single members of a JSON object in its text. Parsing and serializing again would lose what JavaScript
// cannot hold (integers above 2^53, 1.0 against 1, the order of keys) and with it the provider's prompt cache.

/** Where a member's value stands in the text: [start, end). */
interface Member {
  start: number;
  end: number;
}

/** The members of the object that opens at `at`, in text that JSON.parse has accepted. A string names the key that stands there twice: two parsers may read such a text differently. */
export function membersOf(text: string, at: number): Map<string, Member> | string {
  const members = new Map<string, Member>();
  let i = skipSpace(text, skipSpace(text, at) + 1);
  while (text[i] === '"') {
    const keyEnd = stringEnd(text, i);
    const key: string = JSON.parse(text.slice(i, keyEnd));
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = valueEnd(text, start);
    if (members.has(key)) return key;
    members.set(key, { start, end });
    i = skipSpace(text, end);
    if (text[i] === ',') i = skipSpace(text, i + 1);
  }
  return members;
}

/** One replacement of [start, end) by `text`; start = end inserts. */
export interface Edit {
  start: number;
  end: number;
  text: string;
}

/** Applies edits that do not overlap, in any order. */
export function splice(text: string, edits: Edit[]): string {
  let result = '';
  let from = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    result += text.slice(from, edit.start) + edit.text;
    from = edit.end;
  }
  return result + text.slice(from);
}

/** The edit that adds a member as the first of the object opening at `at`. */
export function insertMember(text: string, at: number, empty: boolean, member: string): Edit {
  const inside = skipSpace(text, at) + 1;
  return { start: inside, end: inside, text: empty ? member : `${member},` };
}

function skipSpace(text: string, from: number): number {
  let i = from;
  while (text[i] === ' ' || text[i] === '\n' || text[i] === '\r' || text[i] === '\t') i++;
  return i;
}

function stringEnd(text: string, from: number): number {
  let i = from + 1;
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i + 1;
}

function valueEnd(text: string, from: number): number {
  let i = from;
  let depth = 0;
  while (i < text.length) {
    const c = text[i];
    if (c === '"') {
      i = stringEnd(text, i);
      if (depth === 0) return i;
      continue;
    }
    if (depth === 0 && i > from && (c === ',' || c === '}' || c === ']' || skipSpace(text, i) > i)) return i;
    if (c === '{' || c === '[') depth++;
    else if ((c === '}' || c === ']') && --depth === 0) return i + 1;
    i++;
  }
  return i;
}
