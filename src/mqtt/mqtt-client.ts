/**
 * The client class of the `mqtt` package, without its front door, which brings WebSockets and more. Loaded late, by
 * `import()` of this file: the package is CommonJS, whose default export Node and the bundle wrap once more, and the test
 * runner does not.
 */
import client from 'mqtt/lib/client';

const wrapped: { readonly default?: typeof client.default } = client;

export const MqttClient = wrapped.default ?? (client as unknown as typeof client.default);
