/** `loamlet:host/lifecycle@0.1.0`: what a container has probes and signals for. */
import type { Guest, HostInterface } from './guest.ts';

export const lifecycleInterface: HostInterface = {
  module: 'loamlet:host/lifecycle@0.1.0',
  functions: {
    /** `alive: func()` */
    alive: {
      kind: 'plain',
      call(guest: Guest) {
        guest.alive();
      },
    },

    /** `set-ready: func(ready: bool)` */
    'set-ready': {
      kind: 'plain',
      call(guest: Guest, ready: number) {
        guest.setReady(ready !== 0);
      },
    },

    /** `stopping: func() -> bool` */
    stopping: {
      kind: 'plain',
      call(guest: Guest) {
        return guest.stopping ? 1 : 0;
      },
    },
  },
};
