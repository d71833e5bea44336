// A module as people write them: reads a clock, formats a line, writes it, sleeps. sensor.wasm [PERIOD_MS]
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  long period = argc > 1 ? atol(argv[1]) : 1000;
  unsigned long long n = 0;
  unsigned state = 0x1234567;
  for (;;) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    state = state * 1664525u + 1013904223u + (unsigned)now.tv_nsec;
    char line[96];
    int length = snprintf(line, sizeof line, "sensor t=%lld.%03ld n=%llu value=%u\n", (long long)now.tv_sec,
                          now.tv_nsec / 1000000, ++n, state >> 22);
    write(1, line, length);
    struct timespec time = {period / 1000, (period % 1000) * 1000000L};
    nanosleep(&time, NULL);
  }
}
