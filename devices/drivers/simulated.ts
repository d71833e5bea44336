/** A sensor of no hardware at all: a profile of values over time, with faults on demand. */
import { DeviceConfigError, DeviceError, type Description, type Driver, type Sensor } from '../contract.ts';
import { Settings } from '../settings.ts';
import { constant } from '../simulated/constant.ts';
import { faultsUsage, parseFaults, withFaults, type Faults } from '../simulated/faults.ts';
import { noise } from '../simulated/noise.ts';
import type { Profile, ProfileKind } from '../simulated/profile.ts';
import { ramp } from '../simulated/ramp.ts';
import { recorded } from '../simulated/recorded.ts';
import { silence } from '../simulated/silence.ts';

const profiles = [noise, constant, ramp, recorded, silence] as readonly ProfileKind[];

export interface SimulatedOptions {
  readonly profile: string;
  readonly values: unknown;
  readonly faults: Faults;
  readonly quantity: string;
  readonly unit: string;
  readonly intervalMs: number;
}

export const simulated: Driver<SimulatedOptions> = {
  name: 'simulated',
  usage:
    'simulated[:PROFILE[,KEY=VALUE...]], such as simulated:constant,value=41.5. Profiles: ' +
    `${profiles.map((kind) => `${kind.name} with ${kind.usage}`).join('; ')}. Also: unit (%), intervalMs (0); ${faultsUsage}.`,
  positional: ['profile'],

  parse(values) {
    const settings = new Settings(values);
    const profile = settings.choice(
      'profile',
      profiles.map((kind) => kind.name),
      'noise',
    );
    const options = {
      profile,
      values: kindOf(profile).parse(settings),
      faults: parseFaults(settings),
      quantity: settings.text('quantity', 'simulated'),
      unit: settings.text('unit', '%'),
      intervalMs: settings.number('intervalMs', { min: 0, max: 86_400_000 }, 0),
    };
    settings.finish();
    return options;
  },

  bus: () => undefined,
  describe: (options) => [describe(options)],

  async open(options) {
    if (options.faults.missing) throw new DeviceError('not-found', 'simulated fault: the device is missing');
    const profile = withFaults(await kindOf(options.profile).open(options.values), options.faults);
    return {
      sensors: new Map([[options.quantity, new SimulatedSensor(options, profile)]]),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};

class SimulatedSensor implements Sensor {
  readonly #options: SimulatedOptions;
  readonly #profile: Profile;
  readonly #openedAt = performance.now();

  constructor(options: SimulatedOptions, profile: Profile) {
    this.#options = options;
    this.#profile = profile;
  }

  describe(): Description {
    return describe(this.#options);
  }

  async read() {
    const value = await this.#profile.sample((performance.now() - this.#openedAt) / 1000);
    // What a real probe would resolve; a reading with 13 digits looks like a fault.
    return {
      value: Math.round(value * 100) / 100,
      unit: this.#options.unit,
      takenAtMs: Date.now(),
      quality: 'good' as const,
    };
  }
}

function describe({ profile, values, quantity, unit, intervalMs }: SimulatedOptions): Description {
  const description = { quantity, unit, model: `simulated (${profile})`, intervalMs };
  const range = kindOf(profile).range(values);
  return range === undefined ? description : { ...description, range };
}

function kindOf(name: string): ProfileKind {
  const kind = profiles.find((candidate) => candidate.name === name);
  if (kind === undefined) throw new DeviceConfigError('profile', `there is no profile ${name}`);
  return kind;
}
