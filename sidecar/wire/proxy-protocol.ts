// The PROXY protocol of HAProxy (proxy-protocol.txt, 2020), versions 1 and 2: who really called, told before the first byte
// of a connection. Read strictly: a header that could be read in two ways would let its sender choose what comes after it.

import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { crc32c } from './crc32c.ts';

/** Both ends of a connection as somebody else saw it. Addresses in canonical form. */
export interface ProxiedAddresses {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** Why a header is refused. A closed set: these are label values. */
export type ProxyMistake =
  | 'signature' // neither version begins so
  | 'tooLarge' // no end within 107 bytes (version 1), or more than PROXY_HEADER_BYTES_MAX
  | 'syntax' // version 1: not these words, one space between them
  | 'version'
  | 'command'
  | 'family' // a family or transport that is not assigned
  | 'length' // version 2: too short for its addresses
  | 'address'
  | 'port'
  | 'tlv' // version 2: what follows the addresses does not add up
  | 'checksum';

/** A header and its length in bytes. Addresses are null where it says that there are none: LOCAL, UNKNOWN, UNSPEC, a datagram, a unix socket. */
export interface ProxyHeader {
  readonly version: 1 | 2;
  readonly addresses: ProxiedAddresses | null;
  readonly length: number;
}

/** §2.1: the longest line, that of UNKNOWN with two addresses. */
const V1_BYTES_MAX = 107;
/** Senders add TLVs of names, certificates and cloud endpoints: hundreds of bytes. The 64 KiB of the length field are for nobody. */
export const PROXY_HEADER_BYTES_MAX = 4096;

const V1 = Buffer.from('PROXY', 'latin1');
const V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_HEADER_BYTES = 16;
const LOCAL = 0x20;
const PROXY = 0x21;
const TCP4 = 0x11;
const TCP6 = 0x21;
/** Families (high half) UNSPEC, INET, INET6, UNIX; transports (low half) UNSPEC, STREAM, DGRAM. Bytes of addresses by family. */
const ADDRESS_BYTES = [0, 12, 36, 216] as const;
const TRANSPORT_MAX = 2;
const TLV_CRC32C = 0x03;
/** In ztunnel the SPIFFE id of the caller; the range 0xE0 to 0xEF would be for experiments, and 0xD0 is taken so already. */
const TLV_IDENTITY = 0xd0;

/** The header that `bytes` begin with; null: too few to tell. */
export function parseProxyHeader(bytes: Uint8Array): ProxyHeader | { readonly mistake: ProxyMistake } | null {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (isStart(all, V1)) return all.length < V1.length ? null : parseV1(all);
  if (isStart(all, V2)) return all.length < V2_HEADER_BYTES ? null : parseV2(all);
  return { mistake: 'signature' };
}

function isStart(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.compare(signature, 0, length, 0, length) === 0;
}

function parseV1(bytes: Buffer): ProxyHeader | { readonly mistake: ProxyMistake } | null {
  const end = bytes.subarray(0, V1_BYTES_MAX).indexOf('\r\n');
  if (end < 0) return bytes.length >= V1_BYTES_MAX ? { mistake: 'tooLarge' } : null;
  const line = bytes.toString('latin1', 0, end);
  const length = end + 2;
  // §2.1: whatever follows UNKNOWN must be ignored.
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN ')) return { version: 1, addresses: null, length };
  const words = line.split(' ');
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = ''] = words;
  if (words.length !== 6 || (family !== 'TCP4' && family !== 'TCP6')) return { mistake: 'syntax' };
  const isAddress = family === 'TCP4' ? isIPv4 : isPlainIPv6;
  if (!isAddress(source) || !isAddress(destination)) return { mistake: 'address' };
  if (!isPort(sourcePort) || !isPort(destinationPort)) return { mistake: 'port' };
  const addresses = {
    source: canonical(source),
    sourcePort: Number(sourcePort),
    destination: canonical(destination),
    destinationPort: Number(destinationPort),
  };
  return { version: 1, addresses, length };
}

/** §2.1: decimal, no leading zeroes. */
function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%');
}

function canonical(address: string): string {
  return isIPv4(address) ? address : new SocketAddress({ address, family: 'ipv6' }).address;
}

function parseV2(bytes: Buffer): ProxyHeader | { readonly mistake: ProxyMistake } | null {
  const command = bytes[12] as number;
  if (command >> 4 !== 2) return { mistake: 'version' };
  if (command !== LOCAL && command !== PROXY) return { mistake: 'command' };
  const family = bytes[13] as number;
  const needed = ADDRESS_BYTES[family >> 4];
  // §2.2: receivers must drop connections that present unexpected values here.
  if (needed === undefined || (family & 15) > TRANSPORT_MAX) return { mistake: 'family' };
  const length = V2_HEADER_BYTES + bytes.readUInt16BE(14);
  if (length > PROXY_HEADER_BYTES_MAX) return { mistake: 'tooLarge' };
  if (command === PROXY && length < V2_HEADER_BYTES + needed) return { mistake: 'length' };
  if (bytes.length < length) return null;
  // §2.2: of LOCAL, a health check of the balancer's own, everything but the length is ignored.
  if (command === LOCAL) return { version: 2, addresses: null, length };
  const header = bytes.subarray(0, length);
  const mistake = checkTlvs(header, V2_HEADER_BYTES + needed);
  return mistake === null ? { version: 2, addresses: addressesOf(header, family), length } : { mistake };
}

function addressesOf(header: Buffer, family: number): ProxiedAddresses | null {
  if (family !== TCP4 && family !== TCP6) return null;
  const size = family === TCP4 ? 4 : 16;
  const at = V2_HEADER_BYTES;
  const ports = at + 2 * size;
  return {
    source: addressAt(header.subarray(at, at + size)),
    sourcePort: header.readUInt16BE(ports),
    destination: addressAt(header.subarray(at + size, ports)),
    destinationPort: header.readUInt16BE(ports + 2),
  };
}

function addressAt(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(i).toString(16));
  return canonical(groups.join(':'));
}

/** §2.2: TLVs fill the rest exactly, and the checksum, where there is one, is over the whole header with itself as zeroes. */
function checkTlvs(header: Buffer, start: number): ProxyMistake | null {
  let checksum = -1;
  for (let at = start; at < header.length; ) {
    if (at + 3 > header.length) return 'tlv';
    const value = at + 3;
    const end = value + header.readUInt16BE(at + 1);
    if (end > header.length) return 'tlv';
    if (header[at] === TLV_CRC32C) {
      if (end - value !== 4 || checksum >= 0) return 'tlv';
      checksum = value;
    }
    at = end;
  }
  if (checksum < 0) return null;
  const zeroed = Buffer.from(header);
  zeroed.writeUInt32BE(0, checksum);
  return crc32c(zeroed) === header.readUInt32BE(checksum) ? null : 'checksum';
}

/** What a header that is sent tells. */
export interface ProxySource {
  /** Null: not known. */
  readonly addresses: ProxiedAddresses | null;
  /** The caller's SPIFFE id, which version 2 carries; empty: none. */
  readonly spiffeId: string;
}

/** The bytes of a header. */
export function proxyHeader(version: 1 | 2, { addresses, spiffeId }: ProxySource): Buffer {
  const known = addresses === null ? null : sameFamily(addresses);
  if (version === 1) {
    if (known === null) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
    const { source, destination, sourcePort, destinationPort } = known;
    const family = isIPv4(source) ? 'TCP4' : 'TCP6';
    return Buffer.from(`PROXY ${family} ${source} ${destination} ${sourcePort} ${destinationPort}\r\n`, 'latin1');
  }
  const block = known === null ? Buffer.alloc(0) : blockOf(known);
  const identity = Buffer.from(spiffeId, 'latin1');
  const tlv = Buffer.alloc(identity.length === 0 ? 0 : 3);
  if (identity.length > 0) {
    tlv[0] = TLV_IDENTITY;
    tlv.writeUInt16BE(identity.length, 1);
  }
  const head = Buffer.alloc(4);
  head[0] = PROXY;
  head[1] = known === null ? 0 : isIPv4(known.source) ? TCP4 : TCP6;
  head.writeUInt16BE(block.length + tlv.length + identity.length, 2);
  return Buffer.concat([V2, head, block, tlv, identity]);
}

/** IPv4 in an IPv6 socket is told as IPv4; addresses of two families, which no header can tell, as none. */
function sameFamily(addresses: ProxiedAddresses): ProxiedAddresses | null {
  const source = plain(addresses.source);
  const destination = plain(addresses.destination);
  if (isIPv4(source) !== isIPv4(destination)) return null;
  return isIPv4(source) || (isIPv6(source) && isIPv6(destination)) ? { ...addresses, source, destination } : null;
}

function plain(address: string): string {
  const zone = address.indexOf('%');
  const bare = zone < 0 ? address : address.slice(0, zone);
  const mapped = /^::ffff:([\d.]+)$/i.exec(bare)?.[1];
  return mapped !== undefined && isIPv4(mapped) ? mapped : bare;
}

function blockOf({ source, destination, sourcePort, destinationPort }: ProxiedAddresses): Buffer {
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(sourcePort, 0);
  ports.writeUInt16BE(destinationPort, 2);
  return Buffer.concat([addressBytes(source), addressBytes(destination), ports]);
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  // A dotted quad at the end is two groups.
  const text = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_quad, ...parts: string[]) => {
    const [a, b, c, d] = parts.slice(0, 4).map(Number) as [number, number, number, number];
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [before = '', after] = text.split('::');
  const left = before === '' ? [] : before.split(':');
  const right = after === undefined || after === '' ? [] : after.split(':');
  const groups = [...left, ...new Array<string>(8 - left.length - right.length).fill('0'), ...right];
  const bytes = Buffer.alloc(16);
  for (const [i, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i);
  return bytes;
}
