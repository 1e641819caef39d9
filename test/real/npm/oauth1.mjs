// @modelcontextprotocol/sdk 1.x follows the metadata.
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { job, run } from './oauth.mjs';
import { info } from './steps.mjs';

await run({
  open: (authProvider) => ({ client: new Client(info, {}), transport: new StreamableHTTPClientTransport(new URL(job.url), { authProvider }) }),
  finish: (transport, parameters) => transport.finishAuth(parameters.get('code')),
  unauthorized: (error) => error instanceof UnauthorizedError,
});
