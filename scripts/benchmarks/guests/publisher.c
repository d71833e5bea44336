// Publishes a reading again and again, each when the last one is on the node's disk. publisher.wasm COUNT
#include "loamlet.h"

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 1;
  loamlet_reading_t reading = {.value = 41.7, .unit = "%", .taken_at = 1790000000000000000ull, .quality = LOAMLET_GOOD};
  for (long n = 0; n < count; n++)
    if (!loamlet_publish_reading("soil-moisture", "soil-moisture", &reading)) {
      fprintf(stderr, "publish %ld failed: %s\n", n, loamlet_error());
      return 1;
    }
  return 0;
}
