/**
 * A real I2C adapter of the kernel whose chips are objects: an emulated i2c-tiny-usb (drivers/i2c/busses/i2c-tiny-usb.c)
 * on the virtual USB controller. Code under test must not run synchronously in this process: it would wait for itself.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { ChipBus } from '../../../devices/simulated/i2c-bus.ts';
import { plugIn, type ControlRequest } from './usb-ip.ts';

export interface I2cAdapter extends AsyncDisposable {
  /** N of `/dev/i2c-N`. */
  readonly bus: number;
  /** What is on the bus now; chips may come and go. */
  readonly chips: ChipBus;
}

/** The adapter's own requests (usb_ctrlrequest of type vendor). */
const echo = 0;
const functionality = 1;
const setDelay = 2;
const status = 3;
/** 4 to 7: a transfer, with begin and end in its low bits. */
const transfer = 4;
const readFlag = 1;
const acknowledged = 1;
const notAcknowledged = 2;
/** I2C_FUNC_I2C and I2C_FUNC_SMBUS_EMUL. */
const functions = 0x0eff_0009;

const vendorType = 0x40;
const typeMask = 0x60;
// VID 0403, PID c631: what the kernel's driver binds to.
const deviceDescriptor = Buffer.from([18, 1, 0x10, 1, 0xff, 0, 0, 8, 0x03, 0x04, 0x31, 0xc6, 5, 2, 1, 2, 0, 1]);
const configuration = Buffer.from([9, 2, 18, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0, 0, 0, 0]);

export async function openI2cAdapter(): Promise<I2cAdapter> {
  const chips: ChipBus = new Map();
  let lastStatus = acknowledged;

  const vendor = ({ request, value, index, length, data }: ControlRequest): Buffer | undefined => {
    if (request === echo) return Buffer.from([value & 0xff, value >> 8]);
    if (request === functionality) return Buffer.from(Uint32Array.of(functions).buffer);
    if (request === setDelay) return Buffer.alloc(0);
    if (request === status) return Buffer.from([lastStatus]);
    if ((request & ~3) !== transfer) return undefined;
    const chip = chips.get(index);
    const reading = (value & readFlag) !== 0;
    const answer = reading ? chip?.read(length) : chip?.write(data) === true ? new Uint8Array() : undefined;
    lastStatus = answer === undefined ? notAcknowledged : acknowledged;
    return Buffer.from(answer ?? new Uint8Array(reading ? length : 0));
  };

  const before = new Set(buses());
  const usb = await plugIn((request) =>
    (request.requestType & typeMask) === vendorType ? vendor(request) : standard(request),
  );
  return { bus: await appeared(before), chips, [Symbol.asyncDispose]: () => usb[Symbol.asyncDispose]() };
}

/** Standard requests of USB 2.0 §9.4. */
function standard({ request, value }: ControlRequest): Buffer | undefined {
  switch (request) {
    case 0: // GET_STATUS
      return Buffer.from([0, 0]);
    case 6: // GET_DESCRIPTOR
      return descriptor(value >> 8, value & 0xff);
    case 8: // GET_CONFIGURATION
      return Buffer.from([1]);
    case 1: // CLEAR_FEATURE, SET_FEATURE, SET_ADDRESS, SET_CONFIGURATION, SET_INTERFACE
    case 3:
    case 5:
    case 9:
    case 11:
      return Buffer.alloc(0);
    default:
      return undefined;
  }
}

function descriptor(type: number, index: number): Buffer | undefined {
  if (type === 1) return deviceDescriptor;
  if (type === 2) return configuration;
  if (type !== 3) return undefined;
  if (index === 0) return Buffer.from([4, 3, 9, 4]);
  const text = Buffer.from(index === 1 ? 'Loamlet lab' : 'i2c-tiny-usb', 'utf16le');
  return Buffer.concat([Buffer.from([text.length + 2, 3]), text]);
}

function buses(): string[] {
  return existsSync('/sys/class/i2c-dev') ? readdirSync('/sys/class/i2c-dev') : [];
}

/** The kernel registers the adapter when its driver has bound; `/sys` has no event for that without udev. */
async function appeared(before: ReadonlySet<string>): Promise<number> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const found = buses().find((name) => !before.has(name));
    if (found !== undefined && readFileSync(`/sys/class/i2c-dev/${found}/name`, 'utf8').includes('tiny-usb')) {
      return Number(found.slice('i2c-'.length));
    }
    if (performance.now() > deadline)
      throw new Error('the kernel registered no I2C adapter for the emulated i2c-tiny-usb');
    await delay(20);
  }
}
