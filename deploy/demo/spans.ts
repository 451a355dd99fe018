// Spans as an OTLP exporter sends them, and one request's spans as a tree.

import { fromBinary } from '@bufbuild/protobuf';
import { type Attribute, TraceExportSchema } from '../../proto/gen/weft/demo/v1/otlp_pb.js';

/** One finished span. Ids are lower-case hex; times Unix milliseconds with a fraction. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: a root. */
  readonly parentSpanId: string;
  /** `service.name` of the resource. */
  readonly service: string;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, string>>;
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'];
const STATUS_ERROR = 2;

/** An ExportTraceServiceRequest in binary form. Throws on what is no protobuf. */
export function spansOfProtobuf(bytes: Uint8Array): Span[] {
  return fromBinary(TraceExportSchema, bytes).resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = attributesOf(resource?.attributes ?? [])['service.name'] ?? '';
    const spans = scopeSpans.flatMap((scope) => scope.spans);
    return spans.map((span) => ({
      traceId: Buffer.from(span.traceId).toString('hex'),
      spanId: Buffer.from(span.spanId).toString('hex'),
      parentSpanId: Buffer.from(span.parentSpanId).toString('hex'),
      service,
      name: span.name,
      startMs: Number(span.startTimeUnixNano) / 1e6,
      endMs: Number(span.endTimeUnixNano) / 1e6,
      failed: span.status?.code === STATUS_ERROR,
      attributes: { ...attributesOf(span.attributes), kind: KINDS[span.kind] ?? '' },
    }));
  });
}

interface JsonAttribute {
  readonly key: string;
  readonly value?: Readonly<Record<string, unknown>>;
}

interface JsonExport {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: readonly JsonAttribute[] };
    readonly scopeSpans?: readonly { readonly spans?: readonly JsonSpan[] }[];
  }[];
}

interface JsonSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind?: number;
  readonly startTimeUnixNano: string | number;
  readonly endTimeUnixNano: string | number;
  readonly attributes?: readonly JsonAttribute[];
  readonly status?: { readonly code?: number };
}

/** The same in JSON, whose ids are hex (OTLP/HTTP, "JSON Protobuf Encoding"). Throws on what is no JSON. */
export function spansOfJson(text: string): Span[] {
  const message = JSON.parse(text) as JsonExport;
  return (message.resourceSpans ?? []).flatMap(({ resource, scopeSpans }) => {
    const service = attributesOfJson(resource?.attributes)['service.name'] ?? '';
    const spans = (scopeSpans ?? []).flatMap((scope) => scope.spans ?? []);
    return spans.map((span) => ({
      traceId: span.traceId.toLowerCase(),
      spanId: span.spanId.toLowerCase(),
      parentSpanId: (span.parentSpanId ?? '').toLowerCase(),
      service,
      name: span.name,
      startMs: Number(span.startTimeUnixNano) / 1e6,
      endMs: Number(span.endTimeUnixNano) / 1e6,
      failed: span.status?.code === STATUS_ERROR,
      attributes: { ...attributesOfJson(span.attributes), kind: KINDS[span.kind ?? 0] ?? '' },
    }));
  });
}

/** A span and what it caused, earliest first. */
export interface SpanNode {
  readonly span: Span;
  readonly children: SpanNode[];
}

/** The roots of a trace: spans whose parent was not exported, such as that of a client outside the mesh. */
export function spanTree(spans: readonly Span[]): SpanNode[] {
  const nodes = new Map(spans.map((span) => [span.spanId, { span, children: [] as SpanNode[] }]));
  const roots: SpanNode[] = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.span.parentSpanId);
    if (parent === undefined || parent === node) roots.push(node);
    else parent.children.push(node);
  }
  const sort = (list: SpanNode[]) => list.sort((a, b) => a.span.startMs - b.span.startMs);
  for (const node of nodes.values()) sort(node.children);
  return sort(roots);
}

/** One line a span: who, what, when it began after the first, how long it took. */
export function formatTree(roots: readonly SpanNode[]): string {
  const zero = Math.min(...roots.map(({ span }) => span.startMs));
  const lines: string[] = [];
  const visit = (node: SpanNode, lead: string, last: boolean | null) => {
    const { span } = node;
    const branch = last === null ? '' : last ? '└─ ' : '├─ ';
    const times = `+${(span.startMs - zero).toFixed(1)} ms, ${(span.endMs - span.startMs).toFixed(1)} ms`;
    const kind = span.attributes['kind'] === '' ? '' : ` ${span.attributes['kind']}`;
    lines.push(`${lead}${branch}${span.service}${kind}  ${span.name}  ${times}${span.failed ? '  FAILED' : ''}`);
    const below = last === null ? lead : `${lead}${last ? '   ' : '│  '}`;
    for (const [i, child] of node.children.entries()) visit(child, below, i === node.children.length - 1);
  };
  for (const root of roots) visit(root, '', null);
  return lines.join('\n');
}

function attributesOf(list: readonly Attribute[]): Record<string, string> {
  return Object.fromEntries(list.map(({ key, value }) => [key, String(value?.value.value ?? '')]));
}

function attributesOfJson(list: readonly JsonAttribute[] | undefined): Record<string, string> {
  return Object.fromEntries((list ?? []).map(({ key, value }) => [key, String(Object.values(value ?? {})[0] ?? '')]));
}
