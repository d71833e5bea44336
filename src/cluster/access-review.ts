import type { ReviewAccess } from '../kubelet/authorizer.ts';
import type { ApiClient } from './api-client.ts';

/** Asks the API server, as this node, what a caller of the kubelet port may do to the Node. @throws ClusterError */
export function accessReview(client: ApiClient, nodeName: string): ReviewAccess {
  return async ({ user, groups }, verb, subresource, signal) => {
    const resourceAttributes = { verb, group: '', version: 'v1', resource: 'nodes', subresource, name: nodeName };
    const review = await client.post<{ status?: { allowed?: boolean } }>(
      '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: { user, groups, resourceAttributes },
      },
      { signal },
    );
    return review.status?.allowed === true;
  };
}
