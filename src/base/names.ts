/** What a pod asks for a device by: this and the device's resource. */
export const resourcePrefix = 'loamlet.dev/';

/** RFC 1123 label: what Kubernetes takes for namespaces, containers and parts of a name. */
export function isDnsLabel(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);
}
