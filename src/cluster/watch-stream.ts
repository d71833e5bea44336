import { ClusterError } from './errors.ts';
import { statusError } from './api-client.ts';
import { isObject } from './raw-pod.ts';

export interface WatchFrame {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: Record<string, unknown>;
}

/** An object in etcd has at most 1.5 MiB; a line beyond this is not one. */
const maxLineBytes = 8 * 1024 * 1024;

/**
 * The frames of a watch: one JSON object a line. Ends when the stream does.
 * @throws ClusterError for an ERROR frame (410 comes this way, in an answer of 200), a line that is none, one too long
 */
export async function* watchFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<WatchFrame, void, undefined> {
  let parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10, start); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      const line = Buffer.concat(parts);
      parts = [];
      size = 0;
      start = end + 1;
      if (line.length > 0) yield parseFrame(line);
    }
    if (start < chunk.length) {
      parts.push(chunk.subarray(start));
      size += chunk.length - start;
    }
    if (size > maxLineBytes) throw new ClusterError('ApiFailed', `a watch line is over ${maxLineBytes} bytes`);
  }
}

function parseFrame(line: Buffer): WatchFrame {
  let frame: unknown;
  try {
    frame = JSON.parse(line.toString('utf8'));
  } catch (error) {
    throw new ClusterError('ApiFailed', 'a watch line is not JSON', { cause: error });
  }
  if (isObject(frame) && isObject(frame.object)) {
    const { type, object } = frame;
    if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK') return { type, object };
    if (type === 'ERROR')
      throw statusError(
        'watch',
        Number(object.code ?? 500),
        typeof object.message === 'string' ? object.message : 'unknown',
      );
  }
  throw new ClusterError('ApiFailed', 'a watch line is not an event');
}
