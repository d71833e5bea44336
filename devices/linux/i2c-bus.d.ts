/** What `devices/linux/i2c.ts` uses of the package; it ships no types. */
declare module 'i2c-bus' {
  export interface PromisifiedBus {
    i2cRead(address: number, length: number, buffer: Buffer): Promise<{ bytesRead: number; buffer: Buffer }>;
    i2cWrite(address: number, length: number, buffer: Buffer): Promise<{ bytesWritten: number; buffer: Buffer }>;
    close(): Promise<void>;
  }
  /** Opens nothing yet: the bus's file is opened at the first transfer to an address. */
  export function openPromisified(bus: number): Promise<PromisifiedBus>;
}
