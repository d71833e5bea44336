/**
 * A USB device in user space, plugged into the kernel's virtual host controller (vhci_hcd) over USB/IP. The protocol:
 * Documentation/usb/usbip_protocol.rst; all of it is big-endian, but the setup packet of a request is USB's own.
 */
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';

/** A control request (USB 2.0 §9.3). */
export interface ControlRequest {
  readonly requestType: number;
  readonly request: number;
  readonly value: number;
  readonly index: number;
  readonly length: number;
  /** Data of a request to the device. */
  readonly data: Buffer;
}

/** Answers a control request: the bytes read, or undefined to stall. */
export type ControlHandler = (request: ControlRequest) => Buffer | undefined;

const submit = 1;
const unlink = 2;
const headerBytes = 48;
const stall = -32;
const connectionReset = -104;
const fullSpeed = 2;
const controller = '/sys/devices/platform/vhci_hcd.0';

/** Plugs the device in; disposing it unplugs it. */
export async function plugIn(handle: ControlHandler): Promise<AsyncDisposable> {
  const path = `/run/usb-ip-${process.pid}.sock`;
  const server = createServer((socket) => serve(socket, handle)).listen(path);
  await once(server, 'listening');
  const client = connect(path);
  await once(client, 'connect');
  // The kernel takes this end of the connection over; we must not read from it any more.
  const { fd } = handleOf(client);
  client.pause();
  handleOf(client).readStop();
  writeFileSync(`${controller}/attach`, `0 ${fd} ${(1 << 16) | 2} ${fullSpeed}`);
  return {
    async [Symbol.asyncDispose]() {
      writeFileSync(`${controller}/detach`, '0');
      client.destroy();
      server.close();
      await once(server, 'close');
      rmSync(path, { force: true });
    },
  };
}

function handleOf(socket: Socket): { fd: number; readStop(): void } {
  return (socket as unknown as { _handle: { fd: number; readStop(): void } })._handle;
}

function serve(socket: Socket, handle: ControlHandler): void {
  let pending = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    for (;;) {
      if (pending.length < headerBytes) return;
      const command = pending.readUInt32BE(0);
      const toDevice = pending.readUInt32BE(12) === 0;
      const outBytes = command === submit && toDevice ? pending.readUInt32BE(24) : 0;
      if (pending.length < headerBytes + outBytes) return;
      const frame = pending.subarray(0, headerBytes + outBytes);
      pending = pending.subarray(frame.length);
      if (command === submit) socket.write(answer(frame, toDevice, handle));
      else if (command === unlink) socket.write(reply(4, frame, connectionReset, 0));
      else return void socket.destroy();
    }
  });
}

function answer(frame: Buffer, toDevice: boolean, handle: ControlHandler): Buffer {
  const setup = frame.subarray(40, 48);
  const asked = frame.readUInt32BE(24);
  const bytes = handle({
    requestType: setup.readUInt8(0),
    request: setup.readUInt8(1),
    value: setup.readUInt16LE(2),
    index: setup.readUInt16LE(4),
    length: setup.readUInt16LE(6),
    data: frame.subarray(headerBytes),
  });
  if (bytes === undefined) return reply(3, frame, stall, 0);
  if (toDevice) return reply(3, frame, 0, asked);
  const given = bytes.subarray(0, asked);
  return Buffer.concat([reply(3, frame, 0, given.length), given]);
}

function reply(command: number, frame: Buffer, status: number, actualLength: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32BE(command, 0);
  frame.copy(header, 4, 4, 8);
  header.writeInt32BE(status, 20);
  header.writeUInt32BE(actualLength, 24);
  return header;
}
