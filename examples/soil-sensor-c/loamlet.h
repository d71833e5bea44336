/*
 * Loamlet for C: sensors, messages and the life of a container, in one header.
 *
 * Every call that can fail answers true for success; otherwise loamlet_error() has the words, valid until the next call
 * that fails. Texts go into buffers of the caller, cut at their end. A module imports only what it calls: what you do
 * not use here needs no grant. Build with clang --target=wasm32-wasi and wasi-libc, see build.sh.
 */
#ifndef LOAMLET_H
#define LOAMLET_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How far a reading can be trusted. */
typedef enum {
  LOAMLET_GOOD,
  LOAMLET_UNCERTAIN, /* outside its calibrated range, or still warming up */
  LOAMLET_STALE      /* the last good value, older than the sensor's interval */
} loamlet_quality_t;

typedef struct {
  double value;
  char unit[16];     /* UCUM code: "Cel", "%", "hPa", "lx" */
  uint64_t taken_at; /* nanoseconds since the Unix epoch */
  loamlet_quality_t quality;
} loamlet_reading_t;

typedef struct {
  char quantity[32], unit[16], model[32]; /* "soil-moisture", "%", "ads1115" */
  bool has_range;
  double min, max; /* calibrated range, where has_range */
  uint32_t interval_ms;
} loamlet_description_t;

typedef struct { int32_t handle; } loamlet_sensor_t;

/* ---- The canonical ABI: imports, and the memory in which the host returns texts. ---- */

#define LOAMLET_IMPORT(interface, field) __attribute__((import_module(interface), import_name(field)))
#define LOAMLET_SENSORS "loamlet:host/sensors@0.1.0"
#define LOAMLET_MESSAGING "loamlet:host/messaging@0.1.0"
#define LOAMLET_LIFECYCLE "loamlet:host/lifecycle@0.1.0"

typedef struct { char *at; size_t length; } loamlet__string;
typedef struct { uint8_t is_error; uint8_t pad[3]; union { int32_t handle; uint8_t error; }; loamlet__string text; } loamlet__result;
typedef struct {
  uint8_t is_error; uint8_t pad[7];
  union {
    struct { double value; loamlet__string unit; uint64_t taken_at; uint8_t quality; };
    struct { uint8_t error; loamlet__string text; };
  };
} loamlet__reading_result;
typedef struct {
  loamlet__string quantity, unit, model;
  uint8_t has_range; double min, max; uint32_t interval_ms;
} loamlet__description;
_Static_assert(sizeof(loamlet__result) == 16 && sizeof(loamlet__reading_result) == 40 && sizeof(loamlet__description) == 56,
               "loamlet.h is for wasm32");

LOAMLET_IMPORT(LOAMLET_SENSORS, "open") void loamlet__sensors_open(const char *, size_t, loamlet__result *);
LOAMLET_IMPORT(LOAMLET_SENSORS, "[method]sensor.read") void loamlet__sensor_read(int32_t, loamlet__reading_result *);
LOAMLET_IMPORT(LOAMLET_SENSORS, "[method]sensor.describe") void loamlet__sensor_describe(int32_t, loamlet__description *);
LOAMLET_IMPORT(LOAMLET_SENSORS, "[resource-drop]sensor") void loamlet__sensor_drop(int32_t);
LOAMLET_IMPORT(LOAMLET_MESSAGING, "publish")
void loamlet__publish(const char *, size_t, const void *, size_t, loamlet__result *);
LOAMLET_IMPORT(LOAMLET_MESSAGING, "publish-reading")
void loamlet__publish_reading(const char *, size_t, const char *, size_t, double, const char *, size_t, uint64_t, int32_t,
                              loamlet__result *);
LOAMLET_IMPORT(LOAMLET_LIFECYCLE, "alive") void loamlet__alive(void);
LOAMLET_IMPORT(LOAMLET_LIFECYCLE, "set-ready") void loamlet__set_ready(int32_t);
LOAMLET_IMPORT(LOAMLET_LIFECYCLE, "stopping") int32_t loamlet__stopping(void);

/* Called by the host for each text it returns; weak, so that several files may include this header. */
__attribute__((weak, export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align,
                                                                      size_t new_size) {
  (void)old_size;
  if (new_size == 0) return (void *)align;
  void *block = realloc(old, new_size);
  if (block == NULL) abort();
  return block;
}

__attribute__((weak)) char loamlet__error[160];

/* Copies a text of the host into a buffer, cut at its end, and frees the host's block. */
static inline void loamlet__take(loamlet__string *text, char *to, size_t size) {
  size_t n = text->length < size - 1 ? text->length : size - 1;
  memcpy(to, text->at, n);
  to[n] = 0;
  if (text->length > 0) free(text->at);
}

/* Puts an error into words: its case, and the text of the cases named with a colon. */
static inline bool loamlet__fail(const char *const *cases, unsigned count, uint8_t error, loamlet__string *text) {
  const char *name = error < count ? cases[error] : "unknown";
  size_t n = strlen(name);
  memcpy(loamlet__error, name, n + 1);
  if (n > 0 && name[n - 1] == ':') {
    loamlet__error[n] = ' ';
    loamlet__take(text, loamlet__error + n + 1, sizeof loamlet__error - n - 1);
  }
  return false;
}
static inline bool loamlet__sensor_failed(uint8_t error, loamlet__string *text) {
  static const char *const cases[] = {"not-found", "not-permitted", "unavailable:", "other:"};
  return loamlet__fail(cases, 4, error, text);
}
static inline bool loamlet__message_sent(loamlet__result *r) {
  static const char *const cases[] = {"timeout", "connection:", "permission-denied:", "other:", "full"};
  return r->is_error ? loamlet__fail(cases, 5, r->error, &r->text) : true;
}

/* ---- What a program calls. ---- */

/* Why the last call that failed did: "unavailable: no answer at address 0x48". */
static inline const char *loamlet_error(void) { return loamlet__error; }

/* Opens a sensor by its name in the pod's grant: "soil-moisture", "air.humidity". */
static inline bool loamlet_sensor_open(const char *name, loamlet_sensor_t *sensor) {
  loamlet__result r;
  loamlet__sensors_open(name, strlen(name), &r);
  if (r.is_error) return loamlet__sensor_failed(r.error, &r.text);
  sensor->handle = r.handle;
  return true;
}

/* Reads it now, waiting for the device. */
static inline bool loamlet_sensor_read(loamlet_sensor_t sensor, loamlet_reading_t *reading) {
  loamlet__reading_result r;
  loamlet__sensor_read(sensor.handle, &r);
  if (r.is_error) return loamlet__sensor_failed(r.error, &r.text);
  reading->value = r.value;
  reading->taken_at = r.taken_at;
  reading->quality = r.quality <= LOAMLET_STALE ? (loamlet_quality_t)r.quality : LOAMLET_UNCERTAIN;
  loamlet__take(&r.unit, reading->unit, sizeof reading->unit);
  return true;
}

static inline void loamlet_sensor_describe(loamlet_sensor_t sensor, loamlet_description_t *description) {
  loamlet__description d;
  loamlet__sensor_describe(sensor.handle, &d);
  loamlet__take(&d.quantity, description->quantity, sizeof description->quantity);
  loamlet__take(&d.unit, description->unit, sizeof description->unit);
  loamlet__take(&d.model, description->model, sizeof description->model);
  description->has_range = d.has_range;
  description->min = d.min;
  description->max = d.max;
  description->interval_ms = d.interval_ms;
}

/* Gives the sensor back; the end of the program does the same. */
static inline void loamlet_sensor_close(loamlet_sensor_t sensor) { loamlet__sensor_drop(sensor.handle); }

/*
 * Publishes bytes under a topic, relative to the pod's own prefix unless its manifest asked for topics. True when they
 * are on the node's disk: from there they reach the broker, however long the network is away.
 */
static inline bool loamlet_publish(const char *topic, const void *payload, size_t length) {
  loamlet__result r;
  loamlet__publish(topic, strlen(topic), payload, length, &r);
  return loamlet__message_sent(&r);
}

/* Publishes a reading of the sensor of that name, in the form the node's operator chose (JSON if nothing was). */
static inline bool loamlet_publish_reading(const char *topic, const char *sensor, const loamlet_reading_t *reading) {
  loamlet__result r;
  loamlet__publish_reading(topic, strlen(topic), sensor, strlen(sensor), reading->value, reading->unit,
                           strlen(reading->unit), reading->taken_at, reading->quality, &r);
  return loamlet__message_sent(&r);
}

/* Tells the node that the program makes progress (its liveness). */
static inline void loamlet_alive(void) { loamlet__alive(); }

/* Tells the node whether the pod should count as ready. */
static inline void loamlet_set_ready(bool ready) { loamlet__set_ready(ready); }

/* True once the pod is being stopped: finish within its grace period. */
static inline bool loamlet_stopping(void) { return loamlet__stopping() != 0; }

/* Sleeps, looking every two seconds whether the pod is being stopped; false: it is, so finish. */
static inline bool loamlet_sleep(int64_t ms) {
  while (ms > 0 && !loamlet_stopping()) {
    int64_t step = ms < 2000 ? ms : 2000;
    struct timespec time = {step / 1000, (long)(step % 1000) * 1000000};
    nanosleep(&time, NULL);
    ms -= step;
  }
  return !loamlet_stopping();
}

/* The environment variable as a whole number, or `otherwise` when it is not set or not a number. */
static inline int64_t loamlet_env_number(const char *name, int64_t otherwise) {
  const char *value = getenv(name);
  char *end = NULL;
  long long number = value ? strtoll(value, &end, 10) : 0;
  return value && end != value ? number : otherwise;
}

#endif
