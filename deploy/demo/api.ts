// The few calls of the control plane's API that the demo makes: Connect unary calls are JSON over POST.

/** What `weft status` is made from (weft.api.v1.GetStatusResponse as JSON; empty fields are left out). */
export interface Status {
  readonly revision?: string;
  readonly sidecars?: readonly { readonly spiffeId: string; readonly workloadId?: string; readonly inSync?: boolean }[];
  readonly problems?: readonly { readonly file: string; readonly line?: number; readonly message: string }[];
}

/** One control plane's API. Calls reject with what it answered. */
export class ControlPlaneApi {
  private readonly url: string;
  private readonly token: string;

  constructor(url: string, token: string) {
    this.url = url;
    this.token = token;
  }

  status(): Promise<Status> {
    return this.call<Status>('GetStatus', {});
  }

  /** For one sidecar, within the hour. */
  async createJoinToken(serviceAccount: string): Promise<string> {
    const { token } = await this.call<{ token: string }>('CreateJoinToken', { namespace: 'default', serviceAccount });
    return token;
  }

  private async call<T>(method: string, body: object): Promise<T> {
    const response = await fetch(`${this.url}/weft.api.v1.MeshService/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${this.token}` },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(5_000),
    });
    if (!response.ok)
      throw new Error(`the control plane answered ${method} with ${response.status}: ${await response.text()}`);
    return (await response.json()) as T;
  }
}
