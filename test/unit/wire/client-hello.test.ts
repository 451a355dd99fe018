// The server name of a ClientHello: what real clients send, every way in which a hello can be wrong, and any cut.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CLIENT_HELLO_BYTES_MAX, HelloReader, type ServerName } from '../../../sidecar/wire/client-hello.ts';
import { clientHello, extension, GREASE, records, serverName, vector } from '../../support/client-hello.ts';
import { fuzz, fuzzTimeoutMs } from '../../support/fuzz.ts';

function read(bytes: Uint8Array, size = bytes.length): ServerName | null {
  const reader = new HelloReader();
  for (let at = 0; at < bytes.length; at += size) {
    const found = reader.push(bytes.subarray(at, at + size));
    if (found !== null) return found;
  }
  return null;
}

const NAMED = [GREASE, serverName('Orders.Shop.mesh')];
const GOOD = clientHello({ extensions: NAMED });

test.each<[string, Uint8Array, string]>([
  ['one record', records(GOOD), 'orders.shop.mesh'],
  ['one byte to a record', records(GOOD, 1), 'orders.shop.mesh'],
  ['record version 3.3', records(GOOD, 100, 3), 'orders.shop.mesh'],
  ['early data behind it', Buffer.concat([records(GOOD), Buffer.of(0x17, 3, 3, 0, 1, 9)]), 'orders.shop.mesh'],
  ['no session', records(clientHello({ session: Buffer.alloc(0), extensions: NAMED })), 'orders.shop.mesh'],
  [
    'ECH: the outer name',
    records(clientHello({ extensions: [serverName('public.example'), extension(0xfe0d, Buffer.alloc(300, 1))] })),
    'public.example',
  ],
  [
    'as large as it may be',
    records(clientHello({ extensions: [serverName('a.b'), extension(21, Buffer.alloc(16_384 - 97))] })),
    'a.b',
  ],
  ['a name with an underscore', records(clientHello({ extensions: [serverName('_a.b-c.d')] })), '_a.b-c.d'],
])('%s', (_what, bytes, name) => {
  expect(read(bytes)).toEqual({ name });
  expect(read(bytes, 1)).toEqual({ name });
});

test('the largest hello is exactly at the bound, and one byte more is over it', () => {
  const sized = (padding: number) =>
    clientHello({ extensions: [serverName('a.b'), extension(21, Buffer.alloc(padding))] });
  expect(sized(16_384 - 97).length).toBe(CLIENT_HELLO_BYTES_MAX);
  expect(read(records(sized(16_384 - 96)))).toEqual({ mistake: 'tooLarge' });
});

const twoNames = Buffer.concat([
  Buffer.of(0),
  vector(2, Buffer.from('a.b')),
  Buffer.of(0),
  vector(2, Buffer.from('c.d')),
]);
const named = (name: string | Uint8Array) => records(clientHello({ extensions: [serverName(name)] }));

test.each<[string, Uint8Array, string]>([
  ['no TLS', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'record'],
  ['SSL 2', Buffer.of(0x80, 0x2e, 1, 3, 1), 'record'],
  ['a record of another kind', Buffer.of(0x17, 3, 3, 0, 1, 0), 'record'],
  ['a record of another major version', Buffer.of(0x16, 2, 0, 0, 5), 'record'],
  ['a record of a version to come', Buffer.of(0x16, 3, 5, 0, 5), 'record'],
  ['an empty record', Buffer.of(0x16, 3, 1, 0, 0), 'record'],
  ['a record that is too long', Buffer.of(0x16, 3, 1, 0x40, 1), 'record'],
  [
    'an alert between fragments',
    Buffer.concat([records(GOOD.subarray(0, 9)), Buffer.of(0x15, 3, 1, 0, 2, 1, 0)]),
    'record',
  ],
  ['a server hello', records(Buffer.concat([Buffer.of(2), GOOD.subarray(1)])), 'notClientHello'],
  ['a length of 16 MiB', records(Buffer.of(1, 255, 255, 255)), 'tooLarge'],
  ['a second message in its record', records(Buffer.concat([GOOD, Buffer.of(11)])), 'malformed'],
  ['an end before the random', records(Buffer.concat([Buffer.of(1), vector(3, Buffer.alloc(33))])), 'malformed'],
  ['a session of 33 bytes', records(clientHello({ session: Buffer.alloc(33), extensions: NAMED })), 'malformed'],
  ['no ciphers', records(clientHello({ ciphers: Buffer.alloc(0), extensions: NAMED })), 'malformed'],
  ['half a cipher', records(clientHello({ ciphers: Buffer.alloc(3), extensions: NAMED })), 'malformed'],
  ['no compression', records(clientHello({ compressions: Buffer.alloc(0), extensions: NAMED })), 'malformed'],
  ['bytes behind the extensions', records(clientHello({ extensions: NAMED, rest: Buffer.of(0) })), 'malformed'],
  ['extensions beyond the end', records(clientHello({ extensions: null, rest: Buffer.of(0, 9, 0) })), 'malformed'],
  ['half an extension', records(clientHello({ extensions: [...NAMED, Buffer.of(0, 21, 0)] })), 'malformed'],
  ['an extension beyond the end', records(clientHello({ extensions: [Buffer.of(0, 0, 0, 9, 0)] })), 'malformed'],
  ['the same extension twice', records(clientHello({ extensions: [...NAMED, ...NAMED] })), 'malformed'],
  ['two GREASE of one value', records(clientHello({ extensions: [GREASE, GREASE, ...NAMED] })), 'malformed'],
  [
    'a list beyond its extension',
    records(clientHello({ extensions: [extension(0, Buffer.of(0, 9, 0))] })),
    'malformed',
  ],
  [
    'bytes behind the list',
    records(clientHello({ extensions: [extension(0, Buffer.of(0, 4, 0, 0, 1, 0x61, 0))] })),
    'malformed',
  ],
  ['an empty list', records(clientHello({ extensions: [extension(0, Buffer.of(0, 0))] })), 'malformed'],
  ['two names', records(clientHello({ extensions: [extension(0, vector(2, twoNames))] })), 'serverName'],
  [
    'a name of another type',
    records(clientHello({ extensions: [extension(0, vector(2, Buffer.of(1, 0, 1, 0x61)))] })),
    'serverName',
  ],
  ['an empty name', named(''), 'serverName'],
  // Class 12 of the reference: a name that is cut at its NUL would be another one.
  ['CVE class 12: a NUL in the name', named('orders.shop\0.evil'), 'serverName'],
  ['a dot at the end', named('orders.shop.'), 'serverName'],
  ['an empty label', named('orders..shop'), 'serverName'],
  ['a label of 64', named('a'.repeat(64)), 'serverName'],
  ['254 characters', named(`${'a.'.repeat(126)}ab`), 'serverName'],
  ['an IPv4 address', named('10.0.0.1'), 'serverName'],
  ['an IPv4 address in hex', named('0x7f000001'), 'serverName'],
  ['an IPv6 address', named('::1'), 'serverName'],
  ['a port', named('orders:443'), 'serverName'],
  ['white space', named(' orders'), 'serverName'],
  ['UTF-8', named('ördérs'), 'serverName'],
  ['no extension at all', records(clientHello({ extensions: null })), 'noServerName'],
  ['extensions without a name', records(clientHello({ extensions: [GREASE] })), 'noServerName'],
])('%s is refused', (_what, bytes, mistake) => {
  expect(read(bytes)).toEqual({ mistake });
  expect(read(bytes, 1)).toEqual({ mistake });
});

test('what OpenSSL sends, with hybrid keys and without, has the name that it was given', async () => {
  for (const options of [{}, { ecdhCurve: 'X25519MLKEM768' }, { maxVersion: 'TLSv1.2' as const }]) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = connect({ port, host: '127.0.0.1', servername: 'orders.shop.mesh', ...options }).on(
      'error',
      () => {},
    );
    const [socket] = await once(server, 'connection');
    const reader = new HelloReader();
    let found: ServerName | null = null;
    for await (const chunk of socket) {
      found = reader.push(chunk);
      if (found !== null) break;
    }
    expect(found).toEqual({ name: 'orders.shop.mesh' });
    client.destroy();
    server.close();
  }
});

test('any bytes, cut any way, give one verdict', { timeout: fuzzTimeoutMs() }, () => {
  const hello = fc
    .tuple(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 4 }),
      fc.webAuthority(),
      fc.integer({ min: 1, max: 300 }),
    )
    .map(([others, name, size]) =>
      records(
        clientHello({ extensions: [...others.map((data, i) => extension(1000 + i, data)), serverName(name)] }),
        size,
      ),
    );
  const broken = fc.tuple(hello, fc.nat(), fc.nat(255)).map(([good, at, byte]) => {
    const copy = Buffer.from(good);
    copy[at % copy.length] = byte;
    return copy;
  });
  const sizes = fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 20 });
  const property = fc.property(fc.oneof(hello, broken, fc.uint8Array()), sizes, (bytes, cuts) => {
    const whole = read(bytes);
    const reader = new HelloReader();
    let cut: ServerName | null = null;
    for (let at = 0, i = 0; at < bytes.length && cut === null; i++) {
      const size = cuts[i % cuts.length] as number;
      cut = reader.push(bytes.subarray(at, at + size));
      at += size;
    }
    expect(cut).toEqual(whole);
  });
  fuzz('ClientHello', property);
});
