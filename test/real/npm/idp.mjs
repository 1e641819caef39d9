// Authorization servers as MCP wants them, made with oidc-provider: RFC 8414 metadata, registration (RFC 7591),
// client id metadata documents, resource indicators (RFC 8707), introspection, revocation. Started with
// [{address, alg, format}] as its argument; prints a line when all listen. Whoever logs in is who they say; they
// must ask for a scope. Their
// groups are set by PUT /test/groups/NAME with a JSON list, and are told as they are then.
import Provider, { errors } from 'oidc-provider';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const groups = new Map();
const groupsOf = (token) => groups.get(token.accountId ?? token.clientId) ?? [];
const loopback = (url) => ['127.0.0.1', 'localhost'].includes(new URL(url).hostname);

const make = ({ address, alg, format }) => {
  const key = generateKeyPairSync(...kinds[alg]).privateKey.export({ format: 'jwk' });
  return new Provider(`http://${address}`, {
    jwks: { keys: [{ ...key, alg, use: 'sig', kid: alg }] },
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: [alg] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    clients: [
      // Asks about tokens.
      { client_id: 'gateway', client_secret: 'a secret of the gateway', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
      // Is what a test itself logs in with.
      {
        client_id: 'test', token_endpoint_auth_method: 'none', application_type: 'native', response_types: ['code'],
        grant_types: ['authorization_code', 'refresh_token'], redirect_uris: ['http://127.0.0.1/callback'],
      },
    ],
    scopes: ['openid', 'offline_access', 'tools', 'write'],
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (ctx, token) => ({ groups: groupsOf(token) }),
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    pkce: { required: () => true },
    fetch: (url, { dispatcher, ...options }) => fetch(url, options), // the dispatcher refuses loopback addresses
    ttl: { AccessToken: 3600, Session: 3600, Grant: 3600, Interaction: 600, RefreshToken: 3600, AuthorizationCode: 60, IdToken: 600, ClientCredentials: 600 },
    features: {
      registration: { enabled: true },
      clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
      introspection: {
        enabled: true,
        allowedPolicy: (ctx, client, token) => {
          token.extra = { ...token.extra, groups: groupsOf(token) };
          return client.clientId === 'gateway';
        },
      },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => {
          if (!loopback(resource)) throw new errors.InvalidTarget();
          return { scope: 'tools write', audience: resource, accessTokenFormat: format, jwt: format === 'jwt' ? { sign: { alg } } : undefined };
        },
      },
    },
  });
};

const body = async (request) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

const serve = (options) => {
  const provider = make(options);
  const answer = provider.callback();
  const server = createServer(async (request, response) => {
    const name = /^\/test\/groups\/(\w+)$/.exec(request.url)?.[1];
    if (name === undefined || request.method !== 'PUT') return answer(request, response);
    groups.set(name, JSON.parse(await body(request)));
    response.writeHead(204).end();
  });
  const [host, port] = options.address.split(':');
  return new Promise((resolve) => server.listen(Number(port), host, resolve));
};

await Promise.all(JSON.parse(process.argv[2]).map(serve));
console.log('ready');
