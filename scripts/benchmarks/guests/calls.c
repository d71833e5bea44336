// The cost of a host call, by the guest's own clock: prints the nanoseconds of each kind, best of some rounds, as JSON.
// The loops are exported too, for the bare engine.
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define IMPORT(interface, field) __attribute__((import_module(interface), import_name(field)))
#define LIFECYCLE "loamlet:host/lifecycle@0.1.0"
#define BENCH "loamlet:bench/calls@0.1.0"
IMPORT(LIFECYCLE, "stopping") int32_t stopping(void);
IMPORT("wasi_snapshot_preview1", "sched_yield") int32_t host_yield(void);
IMPORT(BENCH, "wait") void host_wait(void);

__attribute__((export_name("plain"), noinline)) int plain(int n) {
  int sum = 0;
  for (int i = 0; i < n; i++) sum += stopping();
  return sum;
}
__attribute__((export_name("yielding"), noinline)) int yielding(int n) {
  int sum = 0;
  for (int i = 0; i < n; i++) sum += host_yield();
  return sum;
}
__attribute__((export_name("waiting"), noinline)) int waiting(int n) {
  for (int i = 0; i < n; i++) host_wait();
  return 0;
}
__attribute__((noinline)) static int clocks(int n) {
  struct timespec now;
  for (int i = 0; i < n; i++) clock_gettime(CLOCK_MONOTONIC, &now);
  return 0;
}

static double measure(int (*loop)(int), int n) {
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  if (loop(n) != 0) return -1; // a call failed
  clock_gettime(CLOCK_MONOTONIC, &to);
  return ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / n;
}

int main(void) {
  static const struct { const char *name; int (*loop)(int); int n; } kinds[] = {
      {"plain", plain, 200000}, {"clock", clocks, 50000}, {"yield", yielding, 20000}, {"wait", waiting, 20000}};
  double best[4] = {1e30, 1e30, 1e30, 1e30};
  for (int round = 0; round < 60; round++)
    for (int kind = 0; kind < 4; kind++) {
      double ns = measure(kinds[kind].loop, kinds[kind].n);
      if (ns < best[kind]) best[kind] = ns;
    }
  printf("{\"plain\":%.3f,\"clock\":%.3f,\"yield\":%.3f,\"wait\":%.3f}\n", best[0], best[1], best[2], best[3]);
  return 0;
}
