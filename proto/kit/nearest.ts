// "Did you mean": the known word that a mistyped one is closest to.

/** Longer words are not compared: the cost is quadratic, and nobody mistypes a name of this length by accident. */
const WORD_LENGTH_MAX = 128;

/**
 * The candidate with the fewest edits from `word` (insert, delete, replace, swap of neighbours: the optimal string
 * alignment distance), without regard to case or to `_` and `-`. `undefined` when none is within a third of the
 * word's length (at least one edit). The first of equals wins.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > WORD_LENGTH_MAX) return undefined;
  const wanted = fold(word);
  let editsMax = Math.max(1, Math.floor(wanted.length / 3));
  let best: string | undefined;
  for (const candidate of candidates) {
    if (candidate.length > WORD_LENGTH_MAX) continue;
    const folded = fold(candidate);
    if (Math.abs(folded.length - wanted.length) > editsMax) continue;
    const edits = distance(wanted, folded);
    if (edits <= editsMax && edits < Math.max(wanted.length, folded.length)) {
      best = candidate;
      editsMax = edits - 1;
      if (editsMax < 0) break;
    }
  }
  return best;
}

function fold(word: string): string {
  return word.toLowerCase().replace(/[-_]/g, '');
}

function distance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, beforeLast[j - 2]! + 1);
      }
      row.push(edits);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
