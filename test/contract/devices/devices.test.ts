import { parseDevice } from '../../../devices/catalog.ts';
import { Ads1115Chip } from '../../../devices/simulated/ads1115-chip.ts';
import { SimulatedBuses } from '../../../devices/simulated/i2c-bus.ts';
import { deviceContract, type DeviceWorld } from './device-contract.ts';

const fixture = new URL('../../fixtures/recordings/soil.csv', import.meta.url).pathname;

function simulated(settings: Record<string, unknown>, expected: number, tolerance: number): DeviceWorld {
  const config = parseDevice({ name: 'bed-3', resource: 'soil-moisture', driver: 'simulated', ...settings });
  return { config, buses: new SimulatedBuses(), expected, tolerance, busUsers: () => 0 };
}

deviceContract('simulated, constant', () => simulated({ profile: 'constant', value: 41.5 }, 41.5, 0));
deviceContract('simulated, ramp', () => simulated({ profile: 'ramp', from: 10, to: 12, seconds: 3600 }, 10, 0.1));
deviceContract('simulated, noise', () => simulated({ profile: 'noise', mean: 40, spread: 5 }, 40, 5));
deviceContract('simulated, recorded', () => simulated({ profile: 'recorded', file: fixture }, 38.2, 0));

function ads1115(settings: Record<string, unknown>, volts: number, expected: number, tolerance: number): DeviceWorld {
  const config = parseDevice({
    name: 'bed-3',
    resource: 'soil-moisture',
    driver: 'ads1115',
    i2c: { bus: 1, address: 0x4a },
    channel: 2,
    rate: 860,
    ...settings,
  });
  const buses = new SimulatedBuses();
  const chips = buses.chips(1);
  const chip = new Ads1115Chip();
  // Other inputs have other voltages: reading a wrong one shows.
  chip.inputs.splice(0, 4, 0.3, 0.7, volts, 3.9);
  chips.set(0x4a, chip);
  const presence = { remove: () => void chips.delete(0x4a), restore: () => void chips.set(0x4a, chip) };
  return { config, buses, expected, tolerance, presence, busUsers: () => buses.users };
}

deviceContract('ads1115 in volts', () => ads1115({}, 1.25, 1.25, 0.0001));
deviceContract('ads1115 in percent, by raw steps', () =>
  ads1115({ calibration: { 22_400: 0, 9600: 100 } }, 2, 50, 0.01),
);
deviceContract('ads1115 in percent, by volts at another gain', () =>
  ads1115({ gain: 2.048, calibration: { '1.8V': 0, '1.3V': 60, '0.9V': 100 } }, 1.1, 80, 0.02),
);
