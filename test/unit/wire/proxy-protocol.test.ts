// PROXY protocol headers by HAProxy's specification: the table of what is right, of what is not, and of what is sent.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../sidecar/wire/crc32c.ts';
import { PROXY_HEADER_BYTES_MAX, parseProxyHeader, proxyHeader } from '../../../sidecar/wire/proxy-protocol.ts';
import { fuzz, fuzzTimeoutMs } from '../../support/fuzz.ts';

const text = (line: string): Buffer => Buffer.from(line, 'latin1');
const SIGNATURE = text('\r\n\r\n\0\r\nQUIT\n');

/** Version 2. @param length in its field; that of `rest` when left out. */
function v2(command: number, family: number, rest: Uint8Array, length = rest.length): Buffer {
  const head = Buffer.of(command, family, length >> 8, length & 255);
  return Buffer.concat([SIGNATURE, head, rest]);
}

const tlv = (type: number, value: Uint8Array): Buffer =>
  Buffer.concat([Buffer.of(type, value.length >> 8, value.length & 255), value]);

const INET = Buffer.from('cb007107c6336401c00001bb', 'hex');
const INET6 = Buffer.from(`20010db8${'00'.repeat(11)}0120010db8${'00'.repeat(11)}02c00001bb`, 'hex');
const UNIX = Buffer.alloc(216, 'x');
const A4 = { source: '203.0.113.7', sourcePort: 49152, destination: '198.51.100.1', destinationPort: 443 };
const A6 = { source: '2001:db8::1', sourcePort: 49152, destination: '2001:db8::2', destinationPort: 443 };

/** With the right checksum. */
function summed(rest: Uint8Array): Buffer {
  const header = v2(0x21, 0x11, Buffer.concat([rest, tlv(3, Buffer.alloc(4))]));
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

test('CRC-32C of RFC 3720 B.4', () => {
  expect(crc32c(Buffer.alloc(32)).toString(16)).toBe('8a9136aa');
  expect(crc32c(Buffer.alloc(32, 0xff)).toString(16)).toBe('62a8ab43');
  expect(crc32c(text('123456789')).toString(16)).toBe('e3069283');
});

const GOOD: [string, Buffer, object | null][] = [
  ['1: TCP4', text('PROXY TCP4 203.0.113.7 198.51.100.1 49152 443\r\n'), A4],
  ['1: TCP6', text('PROXY TCP6 2001:DB8:0::1 2001:db8::2 49152 443\r\n'), A6],
  [
    '1: the longest TCP6',
    text(`PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535\r\n`),
    { source: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', sourcePort: 65535 },
  ],
  ['1: port 0', text('PROXY TCP4 203.0.113.7 198.51.100.1 0 443\r\n'), { ...A4, sourcePort: 0 }],
  ['1: UNKNOWN', text('PROXY UNKNOWN\r\n'), null],
  ['1: UNKNOWN of 107 bytes', text(`PROXY UNKNOWN ${'f'.repeat(91)}\r\n`), null],
  ['2: INET', v2(0x21, 0x11, INET), A4],
  ['2: INET6', v2(0x21, 0x21, INET6), A6],
  ['2: UNIX has no address to tell', v2(0x21, 0x31, UNIX), null],
  ['2: a datagram is not this connection', v2(0x21, 0x12, INET), null],
  ['2: UNSPEC', v2(0x21, 0, Buffer.alloc(0)), null],
  ['2: LOCAL', v2(0x20, 0, Buffer.alloc(0)), null],
  ['2: LOCAL, whose addresses are ignored, with whatever is behind them', v2(0x20, 0x11, Buffer.alloc(30, 0xff)), null],
  [
    '2: TLVs',
    v2(0x21, 0x11, Buffer.concat([INET, tlv(1, text('h2')), tlv(2, text('a.b')), tlv(4, Buffer.alloc(9))])),
    A4,
  ],
  ['2: a checksum', summed(INET), A4],
  ['2: a checksum behind others', summed(Buffer.concat([INET, tlv(0xea, text('vpce-1'))])), A4],
  ['2: as long as it may be', v2(0x21, 0x11, Buffer.concat([INET, tlv(4, Buffer.alloc(4096 - 16 - 12 - 3))])), A4],
];

test.each(GOOD)('%s', (_what, header, addresses) => {
  const version = header[0] === 0x50 ? 1 : 2;
  const body = text('GET / HTTP/1.1\r\n');
  const expected = addresses === null ? null : expect.objectContaining(addresses);
  expect(parseProxyHeader(Buffer.concat([header, body]))).toEqual({
    version,
    addresses: expected,
    length: header.length,
  });
  for (let cut = 0; cut < header.length; cut++) expect(parseProxyHeader(header.subarray(0, cut))).toBeNull();
});

test.each<[string, Buffer, string]>([
  ['nothing of it', text('GET / HTTP/1.1\r\n'), 'signature'],
  ['lower case', text('proxy TCP4 203.0.113.7 198.51.100.1 1 2\r\n'), 'signature'],
  ['half of the signature of 2', text('\r\n\r\nGET'), 'signature'],
  ['TLS', Buffer.of(0x16, 3, 1), 'signature'],
  ['1: a line without end', text(`PROXY UNKNOWN ${'x'.repeat(100)}`), 'tooLarge'],
  ['1: 108 bytes', text(`PROXY UNKNOWN ${'f'.repeat(92)}\r\n`), 'tooLarge'],
  ['1: a bare LF', text(`PROXY TCP4 203.0.113.7 198.51.100.1 1 2\n${'GET / HTTP/1.1'.padEnd(90)}`), 'tooLarge'],
  ['1: no family', text('PROXY\r\n'), 'syntax'],
  ['1: UDP', text('PROXY UDP4 203.0.113.7 198.51.100.1 1 2\r\n'), 'syntax'],
  ['1: UNKNOWNS', text('PROXY UNKNOWNS\r\n'), 'syntax'],
  ['1: two spaces', text('PROXY  TCP4 203.0.113.7 198.51.100.1 1 2\r\n'), 'syntax'],
  ['1: a tab', text('PROXY\tTCP4 203.0.113.7 198.51.100.1 1 2\r\n'), 'syntax'],
  ['1: a space at the end', text('PROXY TCP4 203.0.113.7 198.51.100.1 1 2 \r\n'), 'syntax'],
  ['1: one port', text('PROXY TCP4 203.0.113.7 198.51.100.1 1\r\n'), 'syntax'],
  ['1: PROXYTCP4', text('PROXYTCP4 203.0.113.7 198.51.100.1 1 2\r\n'), 'syntax'],
  ['1: IPv6 as TCP4', text('PROXY TCP4 ::1 198.51.100.1 1 2\r\n'), 'address'],
  ['1: IPv4 as TCP6', text('PROXY TCP6 203.0.113.7 ::1 1 2\r\n'), 'address'],
  ['1: octal', text('PROXY TCP4 0203.0.113.7 198.51.100.1 1 2\r\n'), 'address'],
  ['1: a name', text('PROXY TCP4 localhost 198.51.100.1 1 2\r\n'), 'address'],
  ['1: a zone', text('PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n'), 'address'],
  ['CVE class 9: version 1 with a NUL', text('PROXY TCP4 203.0.113.7\0 198.51.100.1 1 2\r\n'), 'address'],
  ['1: a leading zero', text('PROXY TCP4 203.0.113.7 198.51.100.1 01 2\r\n'), 'port'],
  ['1: port 65536', text('PROXY TCP4 203.0.113.7 198.51.100.1 1 65536\r\n'), 'port'],
  ['1: a negative port', text('PROXY TCP4 203.0.113.7 198.51.100.1 -1 2\r\n'), 'port'],
  ['1: a hex port', text('PROXY TCP4 203.0.113.7 198.51.100.1 0x1 2\r\n'), 'port'],
  ['2: version 1', v2(0x11, 0x11, INET), 'version'],
  ['2: version 3', v2(0x31, 0x11, INET), 'version'],
  ['2: command 2', v2(0x22, 0x11, INET), 'command'],
  ['2: family 4', v2(0x21, 0x41, INET), 'family'],
  ['2: transport 3', v2(0x21, 0x13, INET), 'family'],
  ['2: LOCAL of no family', v2(0x20, 0xff, INET), 'family'],
  ['2: INET of 11 bytes', v2(0x21, 0x11, INET.subarray(0, 11)), 'length'],
  ['2: INET6 of 35 bytes', v2(0x21, 0x21, INET6.subarray(0, 35)), 'length'],
  ['2: UNIX of 215 bytes', v2(0x21, 0x31, UNIX.subarray(0, 215)), 'length'],
  ['2: 64 KiB announced', v2(0x21, 0x11, INET, 65_535), 'tooLarge'],
  ['2: one byte too many', v2(0x21, 0x11, INET, PROXY_HEADER_BYTES_MAX - 16 + 1), 'tooLarge'],
  // Class 6 of the reference, request smuggling: a TLV whose length points behind the header would swallow a request.
  ['CVE class 6: a TLV beyond the header', v2(0x21, 0x11, Buffer.concat([INET, Buffer.of(4, 0, 9, 1)])), 'tlv'],
  ['CVE class 6: half a TLV', v2(0x21, 0x11, Buffer.concat([INET, Buffer.of(4, 0)])), 'tlv'],
  ['2: a byte behind the TLVs', v2(0x21, 0x11, Buffer.concat([INET, tlv(4, Buffer.of(0)), Buffer.of(0)])), 'tlv'],
  ['2: a checksum of 3 bytes', v2(0x21, 0x11, Buffer.concat([INET, tlv(3, Buffer.alloc(3))])), 'tlv'],
  ['2: two checksums', summed(Buffer.concat([INET, tlv(3, Buffer.alloc(4))])), 'tlv'],
  ['2: a wrong checksum', v2(0x21, 0x11, Buffer.concat([INET, tlv(3, Buffer.alloc(4))])), 'checksum'],
])('refused: %s', (_what, header, mistake) => {
  expect(parseProxyHeader(header)).toEqual({ mistake });
});

describe('sent', () => {
  test.each<[1 | 2, object | null, string]>([
    [1, A4, 'PROXY TCP4 203.0.113.7 198.51.100.1 49152 443\r\n'],
    [1, A6, 'PROXY TCP6 2001:db8::1 2001:db8::2 49152 443\r\n'],
    [1, null, 'PROXY UNKNOWN\r\n'],
    [1, { ...A4, source: '::1' }, 'PROXY UNKNOWN\r\n'],
    [1, { ...A4, source: '::ffff:203.0.113.7' }, 'PROXY TCP4 203.0.113.7 198.51.100.1 49152 443\r\n'],
    [1, { ...A6, source: 'fe80::1%eth0' }, 'PROXY TCP6 fe80::1 2001:db8::2 49152 443\r\n'],
    [2, A4, v2(0x21, 0x11, INET).toString('latin1')],
    [2, A6, v2(0x21, 0x21, INET6).toString('latin1')],
    [2, null, v2(0x21, 0, Buffer.alloc(0)).toString('latin1')],
  ])('version %d of %j', (version, addresses, expected) => {
    const sent = proxyHeader(version, { addresses: addresses as typeof A4 | null, spiffeId: '' });
    expect(sent.toString('latin1')).toBe(expected);
  });

  test('version 2 carries the identity behind the addresses', () => {
    const spiffeId = 'spiffe://mesh.local/ns/shop/sa/web';
    const sent = proxyHeader(2, { addresses: A4, spiffeId });
    expect(sent).toEqual(v2(0x21, 0x11, Buffer.concat([INET, tlv(0xd0, text(spiffeId))])));
    expect(parseProxyHeader(sent)).toMatchObject({ addresses: A4, length: sent.length });
  });

  test('is read as it was meant, for any addresses', { timeout: fuzzTimeoutMs() }, () => {
    const port = fc.nat(65_535);
    const pair = fc.oneof(fc.tuple(fc.ipV4(), fc.ipV4()), fc.tuple(fc.ipV6(), fc.ipV6()));
    const property = fc.property(fc.constantFrom(1 as const, 2 as const), pair, port, port, (version, [a, b], p, q) => {
      const sent = proxyHeader(version, {
        addresses: { source: a, sourcePort: p, destination: b, destinationPort: q },
        spiffeId: '',
      });
      const read = parseProxyHeader(sent);
      expect(read).toMatchObject({ version, length: sent.length });
      const again = read !== null && 'addresses' in read ? read.addresses : null;
      if (again === null) return;
      expect([again.sourcePort, again.destinationPort]).toEqual([p, q]);
      expect(proxyHeader(2, { addresses: again, spiffeId: '' })).toEqual(
        proxyHeader(2, { addresses: { source: a, sourcePort: p, destination: b, destinationPort: q }, spiffeId: '' }),
      );
    });
    fuzz('PROXY header round trip', property);
  });
});

test('any bytes: more of them never change a verdict', { timeout: fuzzTimeoutMs() }, () => {
  const start = fc.constantFrom(...GOOD.map(([, header]) => header), Buffer.alloc(0), SIGNATURE, text('PROXY '));
  const spoiled = fc.tuple(start, fc.nat(), fc.nat(255)).map(([header, at, byte]) => {
    const copy = Buffer.from(header);
    if (copy.length > 0) copy[at % copy.length] = byte;
    return copy;
  });
  const property = fc.property(spoiled, fc.uint8Array({ maxLength: 300 }), fc.nat(), (header, tail, cut) => {
    const all = Buffer.concat([header, tail]);
    const early = parseProxyHeader(all.subarray(0, cut % (all.length + 1)));
    if (early !== null) expect(parseProxyHeader(all)).toEqual(early);
    const whole = parseProxyHeader(all);
    if (whole !== null && 'length' in whole) expect(whole.length).toBeLessThanOrEqual(all.length);
  });
  fuzz('PROXY header', property);
});
