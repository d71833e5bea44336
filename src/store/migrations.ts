/** One step of the file's history. Never edited once released; a new step is appended. */
export interface Migration {
  readonly what: string;
  readonly sql: string;
}

/** Step N (from 1) brings a file from `user_version` N - 1 to N. */
export const migrations: readonly Migration[] = [
  {
    what: 'outbox, published ranges, pods and runners',
    sql: `
      -- A message a module was told is published, until the broker has it. seq is the order of publishing.
      CREATE TABLE outbox (
        seq          INTEGER PRIMARY KEY,
        runner_id    TEXT    NOT NULL,
        publish_no   INTEGER NOT NULL,
        topic        TEXT    NOT NULL,
        payload      BLOB    NOT NULL,
        qos          INTEGER NOT NULL CHECK (qos IN (0, 1, 2)),
        retain       INTEGER NOT NULL CHECK (retain IN (0, 1)),
        expiry_ms    INTEGER,             -- counted from the publish; NULL: never
        boot_id      TEXT    NOT NULL,    -- the boot that monotonic_ms counts from
        monotonic_ms INTEGER NOT NULL,
        wall_ms      INTEGER NOT NULL,    -- since the epoch, true only if clock_set
        clock_set    INTEGER NOT NULL CHECK (clock_set IN (0, 1)),
        packet_id    INTEGER,             -- QoS 2 only
        state        INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1)),  -- 0 waiting, 1 refused by the broker
        UNIQUE (runner_id, publish_no)
      ) STRICT;
      CREATE INDEX outbox_refused ON outbox (seq) WHERE state = 1;

      -- Which publish numbers of a runner are committed, delivered ones included: a repeated one is stored once.
      CREATE TABLE published (
        runner_id TEXT    NOT NULL,
        first     INTEGER NOT NULL,
        last      INTEGER NOT NULL,
        PRIMARY KEY (runner_id, first)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE pods (
        uid        TEXT PRIMARY KEY,
        namespace  TEXT NOT NULL,
        name       TEXT NOT NULL,
        source     TEXT NOT NULL CHECK (source IN ('api', 'static')),
        manifest   TEXT NOT NULL,
        record     TEXT NOT NULL,
        updated_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE runners (
        id          TEXT PRIMARY KEY,
        socket_path TEXT NOT NULL,
        token       TEXT NOT NULL,
        pid         INTEGER NOT NULL,
        started_at  INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
    `,
  },
];

/** In the file's header: `LOAM`. */
export const applicationId = 0x4c4f414d;
