// What both generations of the TypeScript client do to get from a URL to a tool: follow what the answers say, have
// the person log in, go on. A job is {url, era, redirect, document, known, browser, calls: [{name, arguments}]};
// document is the address of the client's metadata, known the id that it was given, and browser is where an address is
// posted to, which answers the address that the person ends at.
import { randomBytes } from 'node:crypto';

export const job = JSON.parse(process.argv[2]);

export class Person {
  logins = 0;

  constructor() {
    this.clientMetadataUrl = job.document;
    if (job.known) this.client = { client_id: job.known };
  }

  get redirectUrl() {
    return job.redirect;
  }

  // Without refresh tokens: the client of 1.x would answer a demand for more scopes with a refresh, which gives none.
  get clientMetadata() {
    return {
      client_name: 'toolcrib-real-test', redirect_uris: [job.redirect], response_types: ['code'],
      grant_types: ['authorization_code'], token_endpoint_auth_method: 'none',
    };
  }

  state() {
    return (this.expected = randomBytes(16).toString('hex'));
  }

  clientInformation() {
    return this.client;
  }

  saveClientInformation(client) {
    this.client = client;
  }

  tokens() {
    return this.kept;
  }

  saveTokens(tokens) {
    this.kept = tokens;
  }

  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }

  codeVerifier() {
    return this.verifier;
  }

  redirectToAuthorization(url) {
    this.address = url;
  }

  async login() {
    this.logins++;
    const response = await fetch(job.browser, { method: 'POST', body: this.address.href });
    const text = await response.text();
    if (!response.ok) throw new Error(`the person did not get through: ${text}`);
    const end = new URL(text);
    if (end.searchParams.get('state') !== this.expected) throw new Error(`another state: ${text}`);
    return end.searchParams;
  }
}

// run connects with open(person) → {client, transport}, lists and calls; finish(transport, parameters) ends a login.
export async function run({ open, finish, unauthorized }) {
  const person = new Person();
  const tried = async (transport, go) => {
    try {
      return await go();
    } catch (error) {
      if (!unauthorized(error)) throw error;
      await finish(transport(), await person.login());
      return undefined;
    }
  };
  let at = await open(person);
  if ((await tried(() => at.transport, async () => (await at.client.connect(at.transport), true))) === undefined) {
    at = await open(person);
    await at.client.connect(at.transport);
  }
  const { tools } = await at.client.listTools();
  const results = [];
  for (const call of job.calls ?? []) {
    const go = async () => at.client.callTool(call);
    results.push((await tried(() => at.transport, go)) ?? (await go()));
  }
  await at.client.close();
  process.stdout.write(JSON.stringify({
    tools: tools.map((tool) => tool.name), calls: results.map((result) => !result.isError), logins: person.logins, client: person.client?.client_id ?? '', scope: person.kept.scope ?? '',
  }) + '\n');
}
