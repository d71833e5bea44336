/**
 * The node's config file: one schema is the source of types, defaults, ranges and what each key means. What `loadConfig`
 * returns is resolved: nothing optional that has a default.
 */
import * as z from 'zod'; // not `{ z }`, which can't be shaken: 5 MB of memory more
import { parseQuantity } from '../base/quantity.ts';

const nodeName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/, 'must be a lower case DNS name, such as greenhouse-1');

const bytes = z.union([z.string(), z.number()], 'must be a number of bytes such as 64Mi').transform((text, context) => {
  const value = parseQuantity(text);
  if (value === undefined || !Number.isInteger(value)) {
    context.addIssue({
      code: 'custom',
      message: `must be a number of bytes such as 64Mi, not ${JSON.stringify(text)}`,
    });
    return z.NEVER;
  }
  return value;
});

const path = z.string().min(1).describe('A path on this machine.');
const port = z.number().int().min(0).max(65535);
const qos = z.union([z.literal(0), z.literal(1)], 'must be 0 or 1');

const publishRule = z.strictObject({
  filter: z.string().min(1).describe('An MQTT topic filter that covers what pods may ask for.'),
  qos: qos.default(1),
  retain: z.boolean().default(true),
});

const policyRule = z.strictObject({
  namespaces: z.array(z.string()).min(1).describe('Namespaces the rule is for; "*" is all.'),
  devices: z.array(z.string()).default([]).describe('Resources (soil-moisture) their pods may ask for; "*" is all.'),
  publish: z.array(publishRule).default([]).describe('Topics their pods may ask for besides their own prefix.'),
});

const cluster = z.strictObject({
  bootstrapKubeconfig: path
    .optional()
    .describe('Kubeconfig with a bootstrap token; used until the node has a certificate.'),
  kubeconfig: path.optional().describe('Kubeconfig with credentials of its own; instead of bootstrapping.'),
  clientCAFile: path.optional().describe("CA of those who may call the kubelet port. Default: the kubeconfig's."),
  labels: z.record(z.string(), z.string()).default({}),
  address: z.string().optional().describe("The node's address. Default: that of the interface with the default route."),
  kubeletAddress: z.string().default('0.0.0.0').describe('Address the kubelet port listens on.'),
  kubeletPort: port.default(10250).describe('Kubelet port; 0 takes a free one.'),
});

const mqtt = z
  .strictObject({
    url: z
      .string()
      .regex(/^mqtts?:\/\//, 'must be a URL such as mqtt://broker.example:1883')
      .optional()
      .describe('The broker.'),
    embedded: z
      .strictObject({ address: z.string().default('127.0.0.1'), port: port.default(1883) })
      .optional()
      .describe('Run a broker inside the agent, for a node on its own.'),
    username: z.string().optional(),
    passwordFile: path.optional().describe('File that holds the password.'),
    caFile: path.optional().describe("CA of the broker's certificate. Default: the system's."),
    outbox: z
      .strictObject({
        maxMessages: z
          .number()
          .int()
          .min(1)
          .default(1_000_000)
          .describe('Messages kept on disk; then publishes answer full.'),
        maxBytes: bytes.default(256 * 2 ** 20).describe('Bytes kept on disk; then publishes answer full.'),
      })
      .prefault({}),
  })
  .refine((value) => value.url === undefined || value.embedded === undefined, 'has url and embedded: choose one');

export const configSchema = z.strictObject({
  apiVersion: z.literal('loamlet.dev/v1alpha1'),
  kind: z.literal('NodeConfig'),
  nodeName: nodeName.optional().describe("The node's name. Default: the host name in lower case."),
  stateDirectory: path.default('/var/lib/loamlet').describe('What must survive a reboot.'),
  runDirectory: path.default('/run/loamlet').describe('Sockets and locks.'),
  logDirectory: path.default('/var/log/pods').describe('Container logs.'),
  cluster: cluster.optional().describe('Absent: standalone, static pods only.'),
  staticPodDirectory: path.optional().describe('Folder of pod manifests that run without any cluster.'),
  devices: z.array(z.record(z.string(), z.unknown())).max(256).default([]),
  mqtt: mqtt.optional().describe('Absent: publishing is answered with an error.'),
  policy: z
    .array(policyRule)
    .optional()
    .describe('Absent: namespace default and static pods may use devices and their own prefix.'),
  images: z
    .strictObject({
      insecureRegistries: z
        .array(z.string())
        .default([])
        .describe('Registries spoken to over HTTP; loopback ones always are.'),
      dockerConfig: path.optional().describe('A docker config.json with credentials.'),
      caFile: path.optional().describe('PEM of authorities that sign registry certificates, besides the usual ones.'),
      maxModuleBytes: bytes.default(256 * 2 ** 20).describe('Largest module pulled.'),
    })
    .prefault({}),
  runner: z
    .strictObject({
      user: z
        .string()
        .default('loamlet-run')
        .describe('Who modules run as when the agent is root and the user exists.'),
      unresponsiveSeconds: z.number().min(1).max(3600).default(30).describe('A runner silent for this long is killed.'),
    })
    .prefault({}),
  pods: z
    .strictObject({
      maxPods: z.number().int().min(1).max(10_000).default(1100),
      defaultMemoryLimit: bytes.default(64 * 2 ** 20).describe('For containers without resources.limits.memory.'),
    })
    .prefault({}),
  containerLogs: z
    .strictObject({
      maxSize: bytes.default(10 * 2 ** 20).describe('A log file is rotated at this size.'),
      maxFiles: z.number().int().min(2).max(100).default(5),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      format: z.enum(['auto', 'json', 'human']).default('auto'),
    })
    .prefault({}),
});

export type RawConfig = z.infer<typeof configSchema>;
export type PolicyRule = z.infer<typeof policyRule>;
