// @modelcontextprotocol/client 2.x follows the metadata.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { job, run } from './oauth.mjs';
import { info } from './steps.mjs';

const modes = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } };

await run({
  open: (authProvider) => ({
    client: new Client(info, { versionNegotiation: { mode: modes[job.era] } }),
    transport: new StreamableHTTPClientTransport(new URL(job.url), { authProvider }),
  }),
  finish: (transport, parameters) => transport.finishAuth(parameters),
  unauthorized: (error) => error instanceof UnauthorizedError || error?.cause instanceof UnauthorizedError,
});
