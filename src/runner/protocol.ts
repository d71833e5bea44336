/**
 * What agent and runner say to each other: one request union, one reply union, a version, and nothing else.
 *
 * The runner listens on a Unix socket, the agent dials in and says `hello` with the token given at spawn; one agent at
 * a time (a second one is refused while the first lives). A frame is a u32 little-endian length of all that follows, a
 * u32 little-endian length of a JSON head, the head (one message) and then the bytes its `length` fields lay claim to,
 * in order. `src/runner/frames.ts` reads and writes them; a frame over `maxFrameBytes` ends the connection.
 *
 * The runner is less trusted than the agent: the agent checks every head it reads, knows which containers it started,
 * and holds each publish against its own copy of the grant.
 */
import type { Grant } from '../../hostcalls/grant.ts';

export const protocolVersion = 1;
export const maxFrameBytes = 8 << 20;

/** Chosen by the agent, unique for ever: one run of one container of one pod. */
export type ContainerId = string;

export type LogStream = 'stdout' | 'stderr';

/** Everything the runner has to know of one run of one container. */
export interface ContainerStart {
  readonly id: ContainerId;
  /** For the runner's own log: `namespace/pod/container`. */
  readonly name: string;
  /** The precompiled module, a file the runner may read. Equal digests share one compiled module. */
  readonly modulePath: string;
  readonly moduleDigest: string;
  /** argv, the program's name first. */
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Bytes; the module's memory can't grow past it. */
  readonly memoryLimitBytes: number;
  readonly grant: Grant;
}

export type ContainerReport =
  | { readonly id: ContainerId; readonly state: 'running'; readonly startedAtMs: number }
  | ({ readonly id: ContainerId; readonly state: 'exited' } & ContainerExit);

export interface ContainerExit {
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /**
   * The module's own; 134 for a trap; 137 when it was ended after the grace or by its memory limit; 143 when it was asked
   * to stop and imports no `lifecycle`, so that it could not have known.
   */
  readonly exitCode: number;
  readonly reason: 'Completed' | 'Error' | 'OOMKilled' | 'Killed';
  /** One line; empty where the exit code says it all. */
  readonly message: string;
}

/** From the agent. */
export type AgentMessage =
  | { readonly type: 'hello'; readonly version: number; readonly token: string }
  | { readonly type: 'start'; readonly container: ContainerStart }
  /** Asks the module to stop (`lifecycle.stopping`); ends it when the grace has passed, or now if it imports no `lifecycle`. */
  | { readonly type: 'stop'; readonly id: ContainerId; readonly graceMs: number }
  /** The agent has recorded this container's exit; the runner forgets it. */
  | { readonly type: 'forget'; readonly id: ContainerId }
  /** The answers to publishes: committed to disk, or why not. */
  | { readonly type: 'published'; readonly results: readonly PublishResult[] }
  /** Log frames up to `seq` are in the log files. */
  | { readonly type: 'logged'; readonly seq: number }
  | { readonly type: 'ping'; readonly nonce: number }
  /** Stop all, give them the grace, end the process. */
  | { readonly type: 'shutdown'; readonly graceMs: number };

/** `error` is a case of `messaging.error`; absent when the message is committed. */
export interface PublishResult {
  readonly publishNo: number;
  readonly error?: {
    readonly case: 'timeout' | 'connection' | 'permission-denied' | 'other' | 'full';
    readonly message?: string;
  };
}

export interface PublishItem {
  /** Counts up over the runner's life; with `runnerId` the key under which a repeated publish is stored once. */
  readonly publishNo: number;
  readonly id: ContainerId;
  /** As the module gave it, before any prefix. */
  readonly topic: string;
  /** Payload bytes in this frame's tail. */
  readonly length: number;
  readonly atMs: number;
  readonly expiryMs?: number;
}

export interface LogEntry {
  readonly id: ContainerId;
  readonly stream: LogStream;
  /** Milliseconds since the epoch of the write. */
  readonly atMs: number;
  /** Bytes in this frame's tail: any bytes, not lines. */
  readonly length: number;
}

/** From the runner. */
export type RunnerMessage =
  /** Also lists every container the runner knows, so that a new agent adopts them. */
  | {
      readonly type: 'welcome';
      readonly version: number;
      readonly runnerId: string;
      readonly pid: number;
      readonly containers: readonly ContainerReport[];
    }
  /** Wrong token or version, or another agent is connected; the connection ends. */
  | { readonly type: 'refused'; readonly code: 'BadToken' | 'BadVersion' | 'Busy'; readonly message: string }
  | { readonly type: 'started'; readonly id: ContainerId; readonly startedAtMs: number }
  /** It never ran: the container stays waiting with `reason`. */
  | { readonly type: 'startFailed'; readonly id: ContainerId; readonly reason: StartFailure; readonly message: string }
  | ({ readonly type: 'exited'; readonly id: ContainerId } & ContainerExit)
  | { readonly type: 'logs'; readonly seq: number; readonly entries: readonly LogEntry[] }
  | { readonly type: 'publish'; readonly items: readonly PublishItem[] }
  /** A device answers again, or no longer. Sent on change. */
  | { readonly type: 'device'; readonly name: string; readonly healthy: boolean; readonly message: string }
  /** `lifecycle.set-ready`; a container starts ready. */
  | { readonly type: 'ready'; readonly id: ContainerId; readonly ready: boolean }
  | { readonly type: 'pong'; readonly nonce: number };

export type StartFailure =
  /** The module's imports are more than its grant. */
  | 'GrantDenied'
  /** A granted device does not answer. */
  | 'DeviceUnavailable'
  /** The module asks for more memory than its limit, or can't be instantiated. */
  | 'CreateContainerError';
