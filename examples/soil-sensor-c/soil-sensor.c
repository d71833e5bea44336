// Reads the soil moisture every INTERVAL_MS (5000), prints it and publishes it; COUNT readings, or until it is stopped.
#include "loamlet.h"

static const char *const notes[] = {"", " (uncertain)", " (stale)"};

static int fail(const char *what) {
  fprintf(stderr, "soil-moisture can't be %s: %s\n", what, loamlet_error());
  return 1;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0); // a line at once, not when a buffer is full
  int64_t interval = loamlet_env_number("INTERVAL_MS", 5000), count = loamlet_env_number("COUNT", 0), n = 0;
  loamlet_sensor_t sensor;
  if (!loamlet_sensor_open("soil-moisture", &sensor)) return fail("opened");
  do {
    loamlet_reading_t r;
    if (!loamlet_sensor_read(sensor, &r)) fail("read");
    else {
      printf("soil-moisture %.1f %s%s\n", r.value, r.unit, notes[r.quality]);
      if (!loamlet_publish_reading("soil-moisture", "soil-moisture", &r)) fail("published");
    }
  } while (++n != count && loamlet_sleep(interval));
  return 0;
}
