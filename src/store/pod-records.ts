import type { Logger } from '../observe/logger.ts';
import type { Database } from './database.ts';

/** A pod the node is to run, with what has become of it. `manifest` and `record` are JSON, owned by `src/pods`. */
export interface StoredPod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Where it comes from: an API server or the folder of static pods. */
  readonly source: 'api' | 'static';
  readonly manifest: unknown;
  readonly record: unknown;
  /** Milliseconds since the epoch. */
  readonly updatedAtMs: number;
}

interface Row {
  uid: string;
  namespace: string;
  name: string;
  source: 'api' | 'static';
  manifest: string;
  record: string;
  updated_at: number;
}

/** The node's pods on disk: what it starts from when no API server answers. */
export class PodRecords {
  readonly #save;
  readonly #remove;
  readonly #all;
  readonly #log: Logger;
  readonly #sqlite: Database['sqlite'];

  constructor(database: Database, log: Logger) {
    const { sqlite } = database;
    this.#log = log;
    this.#sqlite = sqlite;
    this.#save = sqlite.prepare<[string, string, string, string, string, string, number]>(
      `INSERT INTO pods (uid, namespace, name, source, manifest, record, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (uid) DO UPDATE SET namespace = excluded.namespace, name = excluded.name, source = excluded.source,
         manifest = excluded.manifest, record = excluded.record, updated_at = excluded.updated_at`,
    );
    this.#remove = sqlite.prepare<[string]>('DELETE FROM pods WHERE uid = ?');
    this.#all = sqlite.prepare<[], Row>('SELECT * FROM pods ORDER BY namespace, name, uid');
  }

  /** Adds or replaces; on disk when it returns. */
  save(pod: StoredPod): void {
    const { uid, namespace, name, source, updatedAtMs } = pod;
    this.#save.run(
      uid,
      namespace,
      name,
      source,
      JSON.stringify(pod.manifest),
      JSON.stringify(pod.record),
      Math.round(updatedAtMs),
    );
  }

  remove(uid: string): void {
    this.#remove.run(uid);
  }

  /** Several changes in one wait for the disk. */
  apply(changed: readonly Omit<StoredPod, 'updatedAtMs'>[], removed: readonly string[]): void {
    const updatedAtMs = Date.now();
    this.#sqlite.transaction(() => {
      for (const pod of changed) this.save({ ...pod, updatedAtMs });
      for (const uid of removed) this.remove(uid);
    })();
  }

  /** By namespace and name. A row that can't be read is left on disk, logged and not returned: the others must start. */
  all(): StoredPod[] {
    return this.#all.all().flatMap((row) => {
      try {
        const { uid, namespace, name, source, updated_at: updatedAtMs } = row;
        return [
          {
            uid,
            namespace,
            name,
            source,
            manifest: JSON.parse(row.manifest),
            record: JSON.parse(row.record),
            updatedAtMs,
          },
        ];
      } catch (error) {
        this.#log.error(
          { err: error, namespace: row.namespace, pod: row.name, uid: row.uid },
          'stored pod is unreadable',
        );
        return [];
      }
    });
  }
}
