// Path templates of google.api.http (google/api/http.proto): compiled once to a regular expression whose groups are
// the variables. Segments never backtrack into each other, since `*` cannot match a slash and `**` must come last.

/** A compiled template. */
export interface Template {
  pattern: RegExp;
  /** Field path of each group, in order; `multi` when it may hold slashes. */
  variables: { path: string[]; multi: boolean }[];
  /** Literal segments; the template with more of them is tried first. */
  literals: number;
}

const FIELD_PATH = /^[a-zA-Z_]\w*(\.[a-zA-Z_]\w*)*$/;
const LITERAL = /^[\w.~%!$&'()+,;@-]+$/;

/** Compiles `/v1/{name=shelves/*}/books:verb`. A string is the mistake, for the operator. */
export function compileTemplate(text: string): Template | string {
  const verbAt = /:([^/:{}]+)$/.exec(text);
  const path = verbAt === null ? text : text.slice(0, verbAt.index);
  if (!path.startsWith('/')) return `path template '${text}' must begin with '/'`;
  const template: Template = { pattern: /^$/, variables: [], literals: 0 };
  let source = '';
  let doubled = false;
  // Split at slashes outside of braces.
  for (const segment of path.slice(1).split(/\/(?![^{]*\})/)) {
    if (doubled) return `path template '${text}': '**' must be the last segment`;
    const variable = /^\{([^=}]+)(?:=([^{}]+))?\}$/.exec(segment);
    const inner = variable === null ? segment : (variable[2] ?? '*');
    const parts: string[] = [];
    for (const part of inner.split('/')) {
      if (doubled) return `path template '${text}': '**' must be the last segment`;
      doubled = part === '**';
      if (part === '*') parts.push('[^/]+');
      else if (doubled) parts.push('.*');
      else if (LITERAL.test(part)) {
        template.literals++;
        parts.push(RegExp.escape(part));
      } else return `path template '${text}': segment '${part}' is not understood`;
    }
    if (variable === null) {
      source += `/${parts.join('/')}`;
      continue;
    }
    const name = variable[1] ?? '';
    if (!FIELD_PATH.test(name)) return `path template '${text}': '${name}' is not a field path`;
    template.variables.push({ path: name.split('.'), multi: inner !== '*' });
    source += `/(${parts.join('/')})`;
  }
  if (verbAt !== null) template.literals++;
  const verb = verbAt === null ? '' : RegExp.escape(`:${verbAt[1]}`);
  template.pattern = new RegExp(`^${source}${verb}$`);
  return template;
}

/** The variables' values, or null: no match, or a broken percent-encoding. A value that may hold slashes keeps `%2F` encoded (http.proto, "path template syntax"). */
export function matchTemplate(template: Template, path: string): string[] | null {
  const match = template.pattern.exec(path);
  if (match === null) return null;
  try {
    return template.variables.map(({ multi }, i) => {
      const value = match[i + 1] ?? '';
      if (!multi) return decodeURIComponent(value);
      return value
        .split(/(%2[fF])/)
        .map((part, odd) => (odd % 2 === 1 ? part : decodeURIComponent(part)))
        .join('');
    });
  } catch {
    return null;
  }
}
