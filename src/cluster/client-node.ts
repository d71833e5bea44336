// What we use of client-node. Named here, in a module that is imported late: an `import()` of the package itself would
// bundle and load all of it (38 MB of memory instead of 15).
export { KubeConfig } from '@kubernetes/client-node';
