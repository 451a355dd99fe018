// Text to documents: YAML and JSON become plain values whose every field remembers the line and column it stood at.
// Stricter than YAML: no duplicate keys, no merge keys, no tags, bounded aliases and depth, so that what a reviewer
// reads is what the mesh gets.

import type { Document, Node } from 'yaml';
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import { joinPath } from '../model/field-path.ts';
import type { Place, Position, Problem } from '../model/resource.ts';

/** Values one file may hold once its aliases are expanded: far above any real policy file, far below a "billion laughs". */
const NODES_MAX = 200_000;
/** Nesting; the deepest policy field is at about 12. */
const DEPTH_MAX = 64;

/** One document of a file. */
export interface SourceDocument {
  /** Plain objects, arrays and scalars. */
  readonly value: unknown;
  readonly place: FieldPlace;
  /** Mistakes of this document that are not those of any one field. */
  readonly problems: readonly Problem[];
}

/** A Place that also knows where keys stand. */
export interface FieldPlace extends Place {
  keyAt(fieldPath: string): Position;
}

/**
 * The documents of one file. `file` is what problems will call it; a name that ends in `.json` is held to JSON's grammar.
 * An array at the top of a JSON file is a list of documents. Mistakes are returned, never thrown.
 */
export function parseDocuments(file: string, text: string): { documents: SourceDocument[]; problems: Problem[] } {
  const problems: Problem[] = [];
  const lines = new LineCounter();
  const problem = (position: Position, fieldPath: string, message: string, fix: string): Problem => {
    return { file, line: position.line, column: position.column, fieldPath, message, fix, resource: '' };
  };
  if (file.endsWith('.json')) {
    try {
      JSON.parse(text);
    } catch (error) {
      return { documents: [], problems: [problem(...jsonMistake(text, error as Error))] };
    }
  }
  const parsed = parseAllDocuments(text, {
    lineCounter: lines,
    uniqueKeys: false,
    prettyErrors: false,
    version: '1.2',
  });
  const documents: SourceDocument[] = [];
  const budget = { nodes: NODES_MAX };
  for (const document of Array.isArray(parsed) ? parsed : []) {
    const broken = [...document.errors, ...document.warnings];
    for (const error of broken) {
      const fix =
        error.code === 'TAG_RESOLVE_FAILED' ? 'remove the tag' : 'correct the syntax: is the indentation right?';
      problems.push(problem(lineColumn(lines, error.pos[0]), '', `not YAML: ${error.message}`, fix));
    }
    if (broken.length > 0 || document.contents === null) continue;
    const roots = file.endsWith('.json') && isSeq(document.contents) ? document.contents.items : [document.contents];
    for (const root of roots) {
      const reader = new Reader(file, document, lines, budget);
      const value = reader.read(root as Node, '', 0);
      if (value === null) continue;
      documents.push({ value, place: reader, problems: reader.problems });
    }
  }
  return { documents, problems };
}

/** Turns nodes into plain values and keeps where they stood. */
class Reader implements FieldPlace {
  readonly file: string;
  readonly problems: Problem[] = [];
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly #budget: { nodes: number };
  readonly #keys = new Map<string, Position>();
  readonly #values = new Map<string, Position>();

  constructor(file: string, document: Document, lines: LineCounter, budget: { nodes: number }) {
    this.file = file;
    this.#document = document;
    this.#lines = lines;
    this.#budget = budget;
  }

  at(fieldPath: string): Position {
    return find(this.#values, fieldPath) ?? { line: 1, column: 1 };
  }

  keyAt(fieldPath: string): Position {
    return this.#keys.get(normalize(fieldPath)) ?? this.at(fieldPath);
  }

  read(node: Node | null, path: string, depth: number): unknown {
    if (node === null) return null;
    const position = lineColumn(this.#lines, node.range?.[0] ?? 0);
    if (!this.#values.has(normalize(path))) this.#values.set(normalize(path), position);
    if (depth > DEPTH_MAX) {
      // Told once: an alias inside its own anchor would meet the limit over and over.
      const told = this.#budget.nodes < 0;
      this.#budget.nodes = -1;
      return told
        ? null
        : this.#refuse(position, path, `nested deeper than ${DEPTH_MAX}`, 'flatten it; no alias within its own anchor');
    }
    if (this.#budget.nodes-- <= 0) {
      if (this.#budget.nodes < -1) return null;
      return this.#refuse(
        position,
        path,
        `more than ${NODES_MAX} values in one file`,
        'split the file; use fewer aliases',
      );
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target === undefined) {
        return this.#refuse(
          position,
          path,
          `the anchor "${node.source}" is not defined above`,
          `define &${node.source} first`,
        );
      }
      return this.read(target, path, depth + 1);
    }
    if (node.tag !== undefined && /^!(?!$)|^tag:(?!yaml\.org,2002:(str|int|float|bool|null|map|seq)$)/.test(node.tag)) {
      return this.#refuse(position, path, `the tag ${node.tag} is not understood`, 'remove the tag');
    }
    if (isScalar(node)) return this.#scalar(node.value, node.source);
    if (isSeq(node)) return node.items.map((item, i) => this.read(item as Node, joinPath(path, i), depth + 1));
    return isMap(node) ? this.#map(node.items as readonly YamlPair[], path, depth) : null;
  }

  #scalar(value: unknown, source: string | undefined): unknown {
    // A double would round it; proto3 JSON takes 64-bit numbers as strings.
    if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value))
      return source ?? `${value}`;
    return value;
  }

  #map(pairs: readonly YamlPair[], path: string, depth: number): Record<string, unknown> {
    const out: Record<string, unknown> = Object.create(null);
    for (const pair of pairs) {
      const position = lineColumn(this.#lines, pair.key?.range?.[0] ?? 0);
      const key = isScalar(pair.key) && pair.key.value !== null ? String(pair.key.value) : null;
      if (key === null) {
        this.#refuse(position, path, 'a key must be a plain word', 'write the key as text');
        continue;
      }
      const keyPath = joinPath(path, key);
      if (key === '<<') {
        this.#refuse(position, keyPath, 'merge keys (<<) are not taken', 'write the fields out');
        continue;
      }
      if (Object.hasOwn(out, key)) {
        const first = this.#keys.get(normalize(keyPath)) ?? position;
        this.#refuse(position, keyPath, `"${key}" was already given on line ${first.line}`, 'keep one of the two');
        continue;
      }
      this.#keys.set(normalize(keyPath), position);
      const value = pair.value;
      // A block below its key is shown at the key; a scalar or a flow value where it stands.
      const block = (isMap(value) || isSeq(value)) && value.flow !== true;
      if (value === null || block) this.#values.set(normalize(keyPath), position);
      out[key] = this.read(value, keyPath, depth + 1);
    }
    return out;
  }

  #refuse(position: Position, fieldPath: string, message: string, fix: string): null {
    this.problems.push({ file: this.file, ...position, fieldPath, message, fix, resource: '' });
    return null;
  }
}

interface YamlPair {
  readonly key: Node | null;
  readonly value: Node | null;
}

/** proto3 JSON takes both spellings of a name: `local_port` and `localPort` are one place. */
function normalize(path: string): string {
  return path.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function find(map: ReadonlyMap<string, Position>, fieldPath: string): Position | undefined {
  let path = normalize(fieldPath);
  for (;;) {
    const position = map.get(path);
    if (position !== undefined || path === '') return position;
    path = path.slice(0, Math.max(0, path.lastIndexOf('.'), path.lastIndexOf('[')));
  }
}

function lineColumn(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** Where the text stops to be JSON, the empty field path, what is wrong there, and a fix. */
function jsonMistake(text: string, error: Error): [Position, string, string, string] {
  const offset = Number(/ at position (\d+)/.exec(error.message)?.[1] ?? jsonErrorOffset(text));
  const before = text.slice(0, offset);
  const lines = before.split('\n');
  const trailing = /,\s*$/.test(before) && /^[}\]]/.test(text.slice(offset));
  const fix = trailing ? 'remove the comma before it' : 'correct the syntax, or name it .yaml';
  return [
    { line: lines.length, column: (lines.at(-1) ?? '').length + 1 },
    '',
    `not JSON: ${error.message.replace(V8_PLACE, '')}`,
    fix,
  ];
}

/** How V8 tells the place: by numbers, which follow the file's name already, or by a piece of the text, lines and all. */
const V8_PLACE = /(?:(?: in JSON)? at position \d+.*|, (?:\.\.\.)?".*" is not valid JSON)$/s;

/** One JSON token behind any blanks (RFC 8259 §2). */
const JSON_TOKEN = /[ \t\r\n]*([{}[\]:,]|"(?:[^"\\\r\n\t]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)/y;

/** V8 gives no number where a value is missing: at the first token that cannot begin one, or at what is no token. */
function jsonErrorOffset(text: string): number {
  const pattern = new RegExp(JSON_TOKEN);
  let last = ',';
  let end = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const token = match[1] as string;
    const value = !']},:'.includes(token) || last + token === '[]';
    if (!value && '[,:'.includes(last)) return pattern.lastIndex - token.length;
    last = token;
    end = pattern.lastIndex;
  }
  return text.length - text.slice(end).trimStart().length;
}
