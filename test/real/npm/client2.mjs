// @modelcontextprotocol/client 2.x: speaks both eras; the job says which.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { info, job, run } from './steps.mjs';

const modes = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } };

await run(job(), {
  connect: async ({ url, command, args, env, era }, onerror) => {
    const client = new Client(info, { capabilities: {}, versionNegotiation: { mode: modes[era] } });
    client.onerror = onerror;
    await client.connect(url ? new StreamableHTTPClientTransport(new URL(url)) : new StdioClientTransport({ command, args, env, stderr: 'ignore' }));
    return client;
  },
  call: (client, params, options) => client.callTool(params, options),
  about: (client) => ({
    version: client.getNegotiatedProtocolVersion(),
    capabilities: client.getServerCapabilities(),
    info: client.getServerVersion(),
  }),
});
