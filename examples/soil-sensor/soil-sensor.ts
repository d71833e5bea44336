// Reads the soil moisture every INTERVAL_MS (5000), prints it and publishes it; COUNT readings, or until it is stopped.
import { Sensor, publishReading, sleep, lastError, envNumber, print, printError } from "./loamlet";
export { cabi_realloc } from "./loamlet";

function main(): i32 {
  const interval = envNumber("INTERVAL_MS", 5000), count = envNumber("COUNT", 0);
  const sensor = Sensor.open("soil-moisture");
  if (sensor == null) return fail("opened");
  let n: i64 = 0;
  do {
    const reading = sensor.read();
    if (reading == null) fail("read");
    else {
      print("soil-moisture " + reading.toString());
      if (!publishReading("soil-moisture", "soil-moisture", reading)) fail("published");
    }
  } while (++n != count && sleep(interval));
  return 0;
}

function fail(what: string): i32 {
  printError("soil-moisture can't be " + what + ": " + lastError());
  return 1;
}

process.exit(main());
