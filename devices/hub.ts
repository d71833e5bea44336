/** The devices that modules hold: each is opened once, however many hold it, and closed with its last holder. */
import { driverNamed } from './catalog.ts';
import { DeviceError, type Buses, type DeviceConfig, type Driver, type Sensor } from './contract.ts';
import { HeldDevice, type HealthReport } from './held-device.ts';

export interface HubOptions {
  readonly buses: Buses;
  /** Called when a device that answered no longer does, and when it does again. A device counts as healthy at first. */
  readonly onHealth?: HealthReport;
  /** A read or an opening that takes longer is `unavailable`. @default 5000 */
  readonly deadlineMs?: number;
  /** @default the catalog's */
  readonly driverNamed?: (name: string) => Driver;
}

/** One holder's share of some devices. */
export interface DeviceHold extends AsyncDisposable {
  /**
   * Opens those that are not open yet.
   * @throws DeviceError of the first that can't be; the others stay open, and the next call tries again
   */
  open(signal: AbortSignal): Promise<void>;
}

export class DeviceHub {
  readonly #options: HubOptions;
  readonly #held = new Map<string, HeldDevice>();

  constructor(options: HubOptions) {
    this.#options = options;
  }

  /** Devices held now. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Holds devices until it is disposed. Touches no hardware: a device is opened by `open`, or by the first `sensor`.
   * @throws DeviceError `not-permitted` when a device of that name is held with other settings
   */
  hold(devices: readonly DeviceConfig[]): DeviceHold {
    const other = devices.find((device) => this.#held.get(device.name)?.isSame(device) === false);
    if (other !== undefined) {
      throw new DeviceError('not-permitted', `${other.name} is in use with other settings`, {
        remedy: 'wait until the pods that use it have ended',
      });
    }
    const shares = devices.map((device) => this.#held.get(device.name) ?? this.#add(device));
    for (const share of shares) share.holders++;
    return {
      open: async (signal) => {
        for (const share of shares) await share.open(signal);
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.all(shares.splice(0).map((share) => this.#giveBack(share)));
      },
    };
  }

  /**
   * A sensor of a device that is held; opens it when it is not open. `quantity` may be left out when there is only one.
   * Reads within `freshnessMs` of an earlier physical read are answered by it.
   * @throws DeviceError `not-found` when nothing answers or the device has no such quantity
   */
  async sensor(
    device: DeviceConfig,
    quantity: string | undefined,
    freshnessMs: number,
    signal: AbortSignal,
  ): Promise<Sensor> {
    const held = this.#held.get(device.name);
    if (held === undefined) throw new DeviceError('not-found', `${device.name} is not held by anybody`);
    return await held.sensor(quantity, freshnessMs, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#held.values()];
    this.#held.clear();
    await Promise.all(all.map((held) => held.close()));
  }

  #add(device: DeviceConfig): HeldDevice {
    const driver = (this.#options.driverNamed ?? driverNamed)(device.driver);
    const held = new HeldDevice(device, driver, {
      buses: this.#options.buses,
      deadlineMs: this.#options.deadlineMs ?? 5000,
      onHealth: this.#options.onHealth ?? (() => undefined),
    });
    this.#held.set(device.name, held);
    return held;
  }

  async #giveBack(held: HeldDevice): Promise<void> {
    if (--held.holders > 0) return;
    if (this.#held.get(held.name) === held) this.#held.delete(held.name);
    await held.close();
  }
}
