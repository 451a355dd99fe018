// The life of a request over recorded streams: retries stay invisible, backpressure crosses, finish runs once.
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { type Attempt, type AttemptPolicy, Exchange } from '../../../sidecar/proxy/relay.ts';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import type { HeaderList } from '../../../sidecar/wire/headers.ts';
import { type Slab, takeSlab } from '../../../sidecar/wire/slab.ts';
import { Head, type HttpStream, type StreamEvents } from '../../../sidecar/wire/stream.ts';

const IGNORE: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** Writes down every call; `room` is what writeData answers. */
class RecordedStream implements HttpStream {
  isDirect = true;
  events: StreamEvents = IGNORE;
  log: string[] = [];
  room = true;
  writeHead(head: Head, end: boolean): void {
    this.log.push(`head ${head.status || head.path}${end ? ' end' : ''}`);
  }
  writeData(chunk: Uint8Array, end: boolean): boolean {
    this.log.push(`data ${chunk.length}${end ? ' end' : ''}`);
    return this.room;
  }
  writeEnd(trailers: HeaderList | null): void {
    this.log.push(`end ${trailers?.join('=') ?? ''}`.trimEnd());
  }
  reset(error: ProxyError): void {
    this.log.push(`reset ${error.kind}`);
  }
  pause(): void {
    this.log.push('pause');
  }
  resume(): void {
    this.log.push('resume');
  }
}

function setUp(options: { retries?: number; retryStatus?: number } = {}) {
  const downstream = new RecordedStream();
  const attempts: Attempt[] = [];
  const scheduled: (() => void)[] = [];
  const finished: Exchange[] = [];
  const policy: AttemptPolicy = {
    start(attempt) {
      attempts.push(attempt);
      return null;
    },
    onRequestEnd() {},
    retryAfterMs: (_head, error, number) => (number < (options.retries ?? 0) && error.retry === 'yes' ? 25 : -1),
    judge: (head) =>
      head.status === options.retryStatus ? new ProxyError('unavailable', 'upstream', 'busy', 'yes') : null,
    commit() {},
    schedule(_delayMs, callback) {
      scheduled.push(callback);
      return () => scheduled.splice(scheduled.indexOf(callback), 1);
    },
    respond: (stream, _request, error) =>
      stream.writeHead(Head.response(error.kind === 'refused' ? 503 : 502, []), true),
    finish: (exchange) => finished.push(exchange),
  };
  const exchange = new Exchange(downstream, () => policy);
  const answer = (number: number): RecordedStream => {
    const upstream = new RecordedStream();
    (attempts[number] as Attempt).onStream(upstream, false);
    return upstream;
  };
  return { downstream, attempts, scheduled, finished, exchange, answer };
}

const GET = () => Head.request('GET', 'http', 'orders', '/a', []);
const POST = () => Head.request('POST', 'http', 'orders', '/b', []);

describe('an exchange', () => {
  test('relays head, body and trailers both ways and finishes once', () => {
    const { downstream, attempts, finished, exchange, answer } = setUp();
    exchange.onHead(POST(), false);
    const upstream = answer(0);
    exchange.onData(new Uint8Array(3), false);
    exchange.onEnd(['x-sum', '1']);
    expect(upstream.log).toEqual(['head /b', 'data 3', 'end x-sum=1']);
    const attempt = attempts[0] as Attempt;
    attempt.onHead(Head.response(103, []), false);
    attempt.onHead(Head.response(200, []), false);
    attempt.onData(new Uint8Array(5), false);
    attempt.onEnd(['grpc-status', '0']);
    expect(downstream.log).toEqual(['resume', 'head 103', 'head 200', 'data 5', 'end grpc-status=0']);
    expect(finished).toEqual([exchange]);
    expect([exchange.requestBytes, exchange.responseBytes, exchange.error]).toEqual([3, 5, null]);
  });

  test('sends the kept body again after a failure that processed nothing', () => {
    const { downstream, attempts, scheduled, exchange, answer } = setUp({ retries: 1 });
    exchange.onHead(POST(), false);
    answer(0);
    exchange.onData(new Uint8Array(7), true);
    (attempts[0] as Attempt).onReset(new ProxyError('refused', 'upstream', 'REFUSED_STREAM', 'yes'));
    expect(scheduled).toHaveLength(1);
    scheduled[0]?.();
    expect(answer(1).log).toEqual(['head /b', 'data 7 end']);
    (attempts[1] as Attempt).onHead(Head.response(204, []), true);
    expect(downstream.log).toEqual(['resume', 'head 204 end']);
  });

  test('answers by itself when attempts are used up, and ignores what the dead attempt says later', () => {
    const { downstream, attempts, finished, exchange, answer } = setUp();
    exchange.onHead(GET(), true);
    answer(0);
    const attempt = attempts[0] as Attempt;
    attempt.onReset(new ProxyError('refused', 'upstream', 'REFUSED_STREAM', 'yes'));
    attempt.onHead(Head.response(200, []), true);
    expect(downstream.log).toEqual(['head 503 end']);
    expect(finished).toHaveLength(1);
    expect(exchange.error?.kind).toBe('refused');
  });

  test('never repeats a body larger than what it keeps', () => {
    const { downstream, attempts, scheduled, exchange, answer } = setUp({ retries: 1 });
    exchange.onHead(POST(), false);
    answer(0);
    exchange.onData(new Uint8Array(LIMITS.replayBytesMax + 1), false);
    (attempts[0] as Attempt).onReset(new ProxyError('refused', 'upstream', 'REFUSED_STREAM', 'yes'));
    expect(scheduled).toHaveLength(0);
    expect(downstream.log.at(-1)).toBe('head 503 end');
  });

  test('holds the caller while nobody takes its body', () => {
    const { downstream, exchange, answer } = setUp();
    exchange.onHead(POST(), false);
    exchange.onData(new Uint8Array(LIMITS.replayBytesMax + 1), false);
    expect(downstream.log).toEqual(['pause']);
    answer(0);
    expect(downstream.log).toEqual(['pause', 'resume']);
  });

  test('stops the faster side until the slower drained', () => {
    const { downstream, attempts, exchange, answer } = setUp();
    exchange.onHead(POST(), false);
    const upstream = answer(0);
    upstream.room = false;
    exchange.onData(new Uint8Array(1), false);
    expect(downstream.log.at(-1)).toBe('pause');
    (attempts[0] as Attempt).onDrain();
    expect(downstream.log.at(-1)).toBe('resume');
    (attempts[0] as Attempt).onHead(Head.response(200, []), false);
    downstream.room = false;
    (attempts[0] as Attempt).onData(new Uint8Array(9), false);
    expect(upstream.log.at(-1)).toBe('pause');
    exchange.onDrain();
    expect(upstream.log.at(-1)).toBe('resume');
  });

  test('cancels upstream at once when the caller leaves', () => {
    const { finished, exchange, answer } = setUp();
    exchange.onHead(GET(), true);
    const upstream = answer(0);
    exchange.onReset(new ProxyError('cancelled', 'downstream', 'the caller went away'));
    expect(upstream.log).toEqual(['head /a end', 'reset cancelled']);
    expect(finished).toHaveLength(1);
  });

  test('resets the caller when the response breaks off half way', () => {
    const { downstream, attempts, exchange, answer } = setUp({ retries: 3 });
    exchange.onHead(GET(), true);
    answer(0);
    (attempts[0] as Attempt).onHead(Head.response(200, []), false);
    (attempts[0] as Attempt).onReset(new ProxyError('connectionClosed', 'upstream', 'closed', 'yes'));
    expect(downstream.log).toEqual(['head 200', 'reset connectionClosed']);
    expect(exchange.error?.kind).toBe('connectionClosed');
  });

  test('stops sending a request whose response is already whole', () => {
    const { downstream, attempts, exchange, answer } = setUp();
    exchange.onHead(POST(), false);
    const upstream = answer(0);
    (attempts[0] as Attempt).onHead(Head.response(413, []), true);
    expect(upstream.log.at(-1)).toBe('reset cancelled');
    expect(downstream.log.at(-1)).toBe('head 413 end');
  });

  test('tries again on a status that the policy names, without showing it', () => {
    const { downstream, attempts, scheduled, exchange, answer } = setUp({ retries: 1, retryStatus: 503 });
    exchange.onHead(GET(), true);
    const first = answer(0);
    (attempts[0] as Attempt).onHead(Head.response(503, []), false);
    expect(first.log.at(-1)).toBe('reset cancelled');
    scheduled[0]?.();
    answer(1);
    (attempts[1] as Attempt).onHead(Head.response(503, []), true);
    expect(downstream.log).toEqual(['head 503 end']);
  });

  test('a caller that leaves between attempts ends the waiting, too', () => {
    const { attempts, scheduled, finished, exchange, answer } = setUp({ retries: 1 });
    exchange.onHead(GET(), true);
    answer(0);
    (attempts[0] as Attempt).onReset(new ProxyError('refused', 'upstream', 'REFUSED_STREAM', 'yes'));
    exchange.onReset(new ProxyError('cancelled', 'downstream', 'gone'));
    expect(scheduled).toHaveLength(0);
    expect(finished).toHaveLength(1);
  });
});

describe('memory that a body was read into', () => {
  /** A chunk of a slab that is full, once the kernel has taken it. */
  function chunkOf(slab: Slab): Uint8Array {
    slab.give(100);
    slab.fill();
    slab.noteWritten(100);
    return slab.bytes.subarray(0, 100);
  }

  /** Whether another connection may read into it. */
  const isFree = (slab: Slab): boolean => {
    slab.noteParsed(0);
    return takeSlab() === slab;
  };

  test('is used again once the request was sent in one attempt, and the response passed on', () => {
    const { attempts, exchange, answer } = setUp();
    exchange.onHead(POST(), false);
    answer(0);
    const [request, response] = [takeSlab(), takeSlab()];
    exchange.onData(chunkOf(request), true);
    expect(isFree(request)).toBe(false); // Another attempt would need it.
    const attempt = attempts[0] as Attempt;
    attempt.stream = Object.assign(attempt.stream as HttpStream, { events: attempt });
    exchange.downstream.events = exchange;
    attempt.onHead(Head.response(200, []), false);
    expect(isFree(request)).toBe(true);
    attempt.onData(chunkOf(response), false);
    expect(isFree(response)).toBe(true);
  });

  test('is left alone when two attempts were given it', () => {
    const { attempts, scheduled, exchange, answer } = setUp({ retries: 1 });
    exchange.downstream.events = exchange;
    exchange.onHead(POST(), false);
    answer(0);
    const slab = takeSlab();
    exchange.onData(chunkOf(slab), true);
    (attempts[0] as Attempt).onReset(new ProxyError('refused', 'upstream', 'REFUSED_STREAM', 'yes'));
    scheduled[0]?.();
    answer(1);
    (attempts[1] as Attempt).onHead(Head.response(200, []), false);
    expect(isFree(slab)).toBe(false);
  });

  test('is left alone where somebody stands between the connections, who may keep it', () => {
    const { downstream, attempts, exchange, answer } = setUp();
    downstream.isDirect = false;
    downstream.events = exchange;
    exchange.onHead(POST(), false);
    const upstream = answer(0);
    const [request, response, tapped] = [takeSlab(), takeSlab(), takeSlab()];
    exchange.onData(chunkOf(request), true);
    const attempt = attempts[0] as Attempt;
    upstream.events = attempt;
    attempt.onHead(Head.response(200, []), false);
    attempt.onData(chunkOf(response), false);
    expect([isFree(request), isFree(response)]).toEqual([false, false]);
    downstream.isDirect = true;
    upstream.events = IGNORE;
    attempt.onData(chunkOf(tapped), false);
    expect(isFree(tapped)).toBe(false);
  });
});
