// The frames that steer a connection and carry no message: PRIORITY, SETTINGS, PING, GOAWAY, WINDOW_UPDATE. Each is
// cheap to send, so each spends of the flood guard.

import { asBuffer } from '../bytes.ts';
import * as frames from './frames.ts';
import { FLAG, SETTING } from './frames.ts';
import { FRAMING } from './reject.ts';
import { parsePriority } from './send-queue.ts';
import { WINDOW_MAX } from './sender.ts';
import type { Http2Session } from './session.ts';

/** Deprecated: only its form is looked at (RFC 9113 §5.3.2, §6.3). */
export function onPriority(session: Http2Session, id: number, payload: Uint8Array): void {
  if (id === 0) return session.fail(FRAMING.priorityZero);
  if (payload.length !== 5) return session.fail(FRAMING.priorityLength);
  if ((frames.readUint32(payload, 0) & 0x7fffffff) === id) return session.streamError(id, FRAMING.selfDependency);
  session.spend('priority');
}

/** RFC 9218 §7.1: only clients send it, on stream 0. One for a stream that is not open now changes nothing. */
export function onPriorityUpdate(session: Http2Session, id: number, payload: Uint8Array): void {
  if (id !== 0 || !session.role.isServer) return session.fail(FRAMING.updateStream);
  if (payload.length < 4) return session.fail(FRAMING.updateLength);
  const about = frames.readUint32(payload, 0) & 0x7fffffff;
  if (about % 2 === 0) return session.fail(FRAMING.updateAbout);
  if (!session.spend('priority')) return;
  const stream = session.streams.get(about);
  if (stream === undefined) return;
  session.sender.prioritize(stream, parsePriority(asBuffer(payload.subarray(4)).toString('latin1')));
}

/** RFC 9113 §6.5. */
export function onSettings(session: Http2Session, flags: number, id: number, payload: Uint8Array): void {
  if (id !== 0) return session.fail(FRAMING.settingsId);
  const ack = (flags & FLAG.ACK) !== 0;
  if (ack ? payload.length !== 0 : payload.length % 6 !== 0) return session.fail(FRAMING.settingsLength);
  if (!session.spend('settings') || ack) return;
  const windowBefore = session.sender.initialWindow;
  for (let at = 0; at < payload.length && !session.closed; at += 6) {
    const setting = ((payload[at] as number) << 8) | (payload[at + 1] as number);
    onSetting(session, setting, frames.readUint32(payload, at + 2));
  }
  if (session.closed) return;
  session.socket.write(frames.settingsAckFrame());
  session.releaseHeads();
  // Behind the acknowledgement: what goes out by the new windows shows a peer that they are in force.
  if (session.sender.initialWindow > windowBefore)
    for (const stream of session.streams.list()) session.sender.resume(stream);
  session.role.onRoom();
}

function onSetting(session: Http2Session, setting: number, value: number): void {
  switch (setting) {
    case SETTING.HEADER_TABLE_SIZE:
      return session.sender.setTableSize(value);
    case SETTING.ENABLE_PUSH:
      // A server that says 1 breaks the protocol, a client that does means nothing by it.
      if (value > (session.role.isServer ? 1 : 0)) session.fail(FRAMING.enablePush);
      return;
    case SETTING.MAX_CONCURRENT_STREAMS:
      session.peerStreamsMax = value;
      return;
    case SETTING.INITIAL_WINDOW_SIZE:
      return onInitialWindow(session, value);
    case SETTING.ENABLE_CONNECT_PROTOCOL:
      if (value > 1 || (value === 0 && session.peerConnectProtocol)) return session.fail(FRAMING.connectProtocol);
      session.peerConnectProtocol = value === 1;
      return;
    case SETTING.NO_RFC7540_PRIORITIES:
      if (value > 1) session.fail(FRAMING.noPriorities);
      return;
    case SETTING.MAX_FRAME_SIZE:
      if (value < 16384 || value > 0xffffff) return session.fail(FRAMING.maxFrameSize);
      return session.sender.setFrameBytes(value);
    default:
  }
}

function onInitialWindow(session: Http2Session, value: number): void {
  if (value > WINDOW_MAX) return session.fail(FRAMING.initialWindow);
  const change = value - session.sender.initialWindow;
  session.sender.initialWindow = value;
  for (const stream of session.streams.list()) {
    stream.sendWindow += change;
    if (stream.sendWindow > WINDOW_MAX) return session.fail(FRAMING.windowOverflow);
  }
}

/** RFC 9113 §6.7. */
export function onPing(session: Http2Session, flags: number, id: number, payload: Uint8Array): void {
  if (id !== 0) return session.fail(FRAMING.pingId);
  if (payload.length !== 8) return session.fail(FRAMING.pingLength);
  const ack = (flags & FLAG.ACK) !== 0;
  // What we asked for costs the peer nothing.
  if (ack && session.pinger.onAck(payload)) return;
  if (!session.spend('ping')) return;
  if (ack) return session.role.onPingAck(payload);
  session.socket.write(frames.pingFrame(true, payload));
}

/** RFC 9113 §6.8. */
export function onGoaway(session: Http2Session, id: number, payload: Uint8Array): void {
  if (id !== 0) return session.fail(FRAMING.goawayId);
  if (payload.length < 8) return session.fail(FRAMING.goawayLength);
  if (session.spend('settings')) session.role.onGoaway(frames.readUint32(payload, 0) & 0x7fffffff);
}

/** RFC 9113 §6.9. */
export function onWindowUpdate(session: Http2Session, id: number, payload: Uint8Array): void {
  if (payload.length !== 4) return session.fail(FRAMING.windowLength);
  if (id !== 0 && session.isIdle(id)) return session.fail(FRAMING.windowIdle);
  if (!session.spend('windowUpdate')) return;
  const bytes = frames.readUint32(payload, 0) & 0x7fffffff;
  if (id === 0) {
    if (bytes === 0) return session.fail(FRAMING.windowZero);
    if (!session.sender.widen(bytes)) session.fail(FRAMING.windowOverflow);
    return;
  }
  const stream = session.streams.get(id);
  if (stream === undefined) return;
  if (bytes === 0) return session.streamError(id, FRAMING.windowZero);
  if (!session.sender.widenStream(stream, bytes)) session.streamError(id, FRAMING.windowOverflow);
}
